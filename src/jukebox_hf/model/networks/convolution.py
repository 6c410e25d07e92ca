"""Dilated residual stacks and the strided blocks around them (paper section A.2).

Flows in: (B, C, T). Flows out: (B, C', T / hop) from an `Encoder` or `DownBlock`, (B, C', T * hop) from their mirrors.
`reach_in_codes` bounds the receptive field, so that long audio can be cut into overlapping chunks without a change.

On a CPU float32 runs on (B, C, 1, T) with channels last, which oneDNN computes 1.5 to 2 times as fast; so does
bfloat16 where the processor has its matmul. The last two convolutions of a decoder, which nothing lies between, run as
one (`merged_end`): the widest signal of the network, at the rate of samples, is never made. Where hooks or others than
plain modules stand there, they are called on (B, C, T).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GradientCheckpointingLayer
from transformers.utils import logging

from ..configuration.configuration_jukebox import JukeboxVQVAEConfig
from .cpu_features import has_bfloat16
from .plain_modules import PlainClasses, has_hook, hook_on, patch_of, replaced_by

logger = logging.get_logger(__name__)


class Conv1d(nn.Conv1d):
    """A convolution over time that also takes (B, C, 1, T) with channels last."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            return super().forward(x)
        if self.kernel_size == (1,):
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        weight = _channels_last(self.weight)
        y = F.conv2d(x, weight, self.bias, (1, *self.stride), (0, *self.padding), (1, *self.dilation))
        return y.contiguous(memory_format=torch.channels_last)  # of one channel the library cannot tell the layout


class ConvTranspose1d(nn.ConvTranspose1d):
    """The same of a transposed convolution."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            return super().forward(x)
        weight = _channels_last(self.weight)
        return F.conv_transpose2d(x, weight, self.bias, (1, *self.stride), (0, *self.padding))


@dataclass(frozen=True)
class StackSettings:
    """One residual stack: its channels, hidden channels, dilations in order, and the scale of each unit."""

    width: int
    inner: int
    dilations: tuple[int, ...]
    scale: float = 1.0
    zero_init: bool = False  # output projections start at zero


class ResidualUnit(GradientCheckpointingLayer):
    """x + scale * [ReLU, 3-wide dilated convolution, ReLU, 1-wide convolution](x)."""

    def __init__(self, settings: StackSettings, dilation: int) -> None:
        super().__init__()
        self.dilated = Conv1d(settings.width, settings.inner, 3, padding=dilation, dilation=dilation)
        self.pointwise = Conv1d(settings.inner, settings.width, 1)
        if settings.zero_init:
            self.pointwise.init_std = 0.0
        self.scale = settings.scale

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.dilated(F.relu(x)), inplace=True)
        return torch.add(x, self.pointwise(inner), alpha=self.scale)  # one pass over memory


class ResidualStack(nn.Sequential):
    """Residual units, one per dilation."""

    def __init__(self, settings: StackSettings) -> None:
        super().__init__(*(ResidualUnit(settings, dilation) for dilation in settings.dilations))


class DownBlock(nn.Module):
    """Stages of a strided convolution and a residual stack, then a 3-wide convolution to the code width."""

    def __init__(self, in_channels: int, out_channels: int, strides: Sequence[int], stack: StackSettings) -> None:
        super().__init__()
        widths = [in_channels] + [stack.width] * len(strides)
        self.downs = nn.ModuleList(
            Conv1d(widths[i], stack.width, 2 * stride, stride, stride // 2) for i, stride in enumerate(strides)
        )
        self.stacks = nn.ModuleList(ResidualStack(stack) for _ in strides)
        self.out = Conv1d(stack.width, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for down, stack in zip(self.downs, self.stacks, strict=True):
            x = stack(down(x))
        return self.out(x)


class UpBlock(nn.Module):
    """The mirror: a 3-wide convolution, then stages of a residual stack and a transposed convolution."""

    def __init__(self, in_channels: int, out_channels: int, strides: Sequence[int], stack: StackSettings) -> None:
        super().__init__()
        widths = [stack.width] * len(strides) + [out_channels]
        self.into = Conv1d(in_channels, stack.width, 3, padding=1)
        self.stacks = nn.ModuleList(ResidualStack(stack) for _ in strides)
        self.ups = nn.ModuleList(
            ConvTranspose1d(stack.width, widths[i + 1], 2 * stride, stride, stride // 2)
            for i, stride in enumerate(strides)
        )

    def forward(self, x: Tensor, out: nn.Conv1d | None = None) -> Tensor:
        """(B, C, T) -> (B, C', T * hop); with `out`, which follows at the end of a decoder, what that makes of it."""
        x = self.before_last(x)
        return self.ups[-1](x) if out is None else merged_end(x, self.ups[-1], out)

    def in_chunks(self, x: Tensor, size: int) -> Iterator[Tensor]:
        """The same, (B, C', T * hop), in chunks from start to end: of `size` inputs of the last stage each."""
        x, last = self.before_last(x), self.ups[-1]
        stride, length = last.stride[0], x.shape[-1]
        for start in range(0, length, size):
            stop, before = min(start + size, length), min(start, 1)  # an output depends on the inputs beside its own
            y = last(x[..., start - before : stop + 1])
            yield y[..., before * stride : (before + stop - start) * stride]

    def before_last(self, x: Tensor) -> Tensor:
        """All but the last transposed convolution."""
        x = self.stacks[0](self.into(x))
        for up, stack in zip(self.ups[:-1], self.stacks[1:], strict=True):
            x = stack(up(x))
        return x


class Encoder(nn.Module):
    """Audio (B, 1, S) to latents (B, C, S / hop) of one level, through the blocks of all finer levels."""

    def __init__(self, level_strides: Sequence[Sequence[int]], code_width: int, stack: StackSettings) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            DownBlock(1 if block == 0 else code_width, code_width, strides, stack)
            for block, strides in enumerate(level_strides)
        )

    def forward(self, audio: Tensor) -> Tensor:
        x = _laid_out(audio)
        for block in self.blocks:
            x = block(x)
        return _over_time(x)


class Decoder(nn.Module):
    """Code vectors (B, C, T) of one level to audio (B, 1, T * hop), through the blocks of all finer levels."""

    def __init__(self, level_strides: Sequence[Sequence[int]], code_width: int, stack: StackSettings) -> None:
        super().__init__()
        # Blocks keep the order of levels, finest first, and run from the last to the first.
        self.blocks = nn.ModuleList(UpBlock(code_width, code_width, strides, stack) for strides in level_strides)
        self.out = Conv1d(code_width, 1, 3, padding=1)

    def forward(self, vectors: Tensor) -> Tensor:
        x = _laid_out(vectors)
        for block in reversed(self.blocks[1:]):
            x = block(x)
        block = self.blocks[0]
        if (reason := reason_against_merging(block, self.out)) is None:
            # Inside of the block: where ranks share weights, they are whole only there.
            return block(x, self.out)
        if not torch.compiler.is_compiling():
            logger.warning_once(f"the end of a decoder is not computed in one step, which is slower: {reason}")
        return self.out(block(_over_time(x)))


def reason_against_merging(block: nn.Module, out: nn.Module) -> str | None:
    """Why `merged_end` would not do what calls of a decoder's last block and of `out` do; None if it does.

    What shares a block among ranks (FSDP2) makes a class of its own, whose hooks only bring the weights.
    """
    patched = None if torch.compiler.is_compiling() else PLAIN_CONVOLUTIONS.patched()  # export patches for itself
    if patched is not None:
        return patched
    if type(block).forward is not UpBlock.forward:
        return replaced_by(block, UpBlock, "blocks.0")
    if "forward" in vars(block):
        return "forward of blocks.0 was patched"
    if type(block) is UpBlock and has_hook(block):
        return "there is a hook on blocks.0"
    up, up_name = block.ups[-1], f"blocks.0.ups.{len(block.ups) - 1}"
    for name, part, wanted in ((up_name, up, _UPS), ("out", out, _OUTS)):
        if type(part) not in wanted:
            return replaced_by(part, wanted[0], name)
        if (reason := hook_on(part, name, torch.is_grad_enabled()) or patch_of(part, name)) is not None:
            return reason
    return None if _can_be_merged(up, out) else f"{up_name} or out is a convolution of another size, padding or bias"


def _can_be_merged(up: nn.ConvTranspose1d, out: nn.Conv1d) -> bool:
    """Whether both have the sizes that `merged_end` takes for granted."""
    stride, width = up.stride[0], up.weight.shape[1]
    sizes = [(one.stride, one.padding, one.dilation, one.groups, one.padding_mode) for one in (up, out)]
    return (
        sizes == [((stride,), (stride // 2,), (1,), 1, "zeros"), ((1,), (1,), (1,), 1, "zeros")]
        and (up.output_padding, stride % 2) == ((0,), 0)
        and (up.weight.shape[-1], *out.weight.shape) == (2 * stride, 1, width, 3)
        and up.bias is not None
        and out.bias is not None
    )


def merged_end(x: Tensor, up: nn.ConvTranspose1d, out: nn.Conv1d) -> Tensor:
    """`out(up(x))` of (B, C, T) or (B, C, 1, T) as one convolution: (B, 1, T * stride), for even strides.

    With `up` 2 * stride wide and `out` 3 wide, a sample depends on the inputs of its own step, the one before and the
    next. So the product of both is a 3-wide convolution with one output channel per sample of a step. Weights are
    multiplied in float32. At both ends the product includes one value of `up` beyond the sound, where `out` pads
    with zeros: that value is subtracted.
    """
    stride, samples = up.stride[0], torch.arange(up.stride[0], device=x.device)
    up_weight, out_weight = up.weight.float(), out.weight.float()
    both = F.conv1d(F.pad(up_weight, (2, 2)), out_weight)[:, 0]  # (C, 2 * stride + 2)
    taps = samples[:, None] + 1 + stride // 2 + stride * torch.tensor([1, 0, -1], device=x.device)
    is_within = (taps >= 0) & (taps < both.shape[1])
    weight = (both[:, taps.clamp(0, both.shape[1] - 1)] * is_within).transpose(0, 1)  # (stride, C, 3)
    bias = out.bias + (up.bias.float()[:, None] * out_weight[0]).sum()
    weight, bias = weight.to(x.dtype), bias.to(x.dtype).expand(stride)
    if x.dim() == 3:
        steps = F.conv1d(x, weight, bias, padding=1).transpose(1, 2)
    else:
        steps = F.conv2d(x, _channels_last(weight), bias, padding=(0, 1)).squeeze(2).transpose(1, 2)
    first = x[..., 0].reshape(len(x), -1) @ up_weight[..., stride // 2 - 1].to(x.dtype) + up.bias
    last = x[..., -1].reshape(len(x), -1) @ up_weight[..., stride + stride // 2].to(x.dtype) + up.bias
    beyond = torch.zeros_like(steps)
    beyond[:, 0, 0] = first @ out.weight[0, :, 0]
    beyond[:, -1, -1] = beyond[:, -1, -1] + last @ out.weight[0, :, 2]
    return (steps - beyond).reshape(len(x), 1, -1)


def reach_in_codes(level_strides: Sequence[Sequence[int]], dilations: Sequence[int]) -> int:
    """How many codes to either side of a code its audio depends on, and the other way round: a safe upper bound.

    Encoder and decoder of a level mirror each other, so one number serves both.
    """
    reach, samples = 1, 1  # the last 3-wide convolution, at the rate of samples
    for strides in level_strides:
        for stride in strides:
            reach += 2 * stride * samples  # the strided convolution, 2 * stride wide
            samples *= stride
            reach += sum(dilations) * samples
        reach += samples  # the 3-wide convolution beside the code vectors
    return math.ceil(reach / samples)


def level_reach(config: JukeboxVQVAEConfig, level: int) -> int:
    """`reach_in_codes` of a level of a VQ-VAE."""
    return reach_in_codes(config.level_strides[: level + 1], config.dilations(level))


def _laid_out(x: Tensor) -> Tensor:
    """(B, C, T), or (B, C, 1, T) with channels last where that is faster."""
    is_faster = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and has_bfloat16())
    return _channels_last(x) if is_faster and x.device.type == "cpu" else x


def _channels_last(x: Tensor) -> Tensor:
    """(B, C, T) -> (B, C, 1, T), whose channels lie side by side."""
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _over_time(x: Tensor) -> Tensor:
    """(B, C, T) or (B, C, 1, T) -> (B, C, T)."""
    return x if x.dim() == 3 else x.squeeze(2)


_UPS, _OUTS = (ConvTranspose1d, nn.ConvTranspose1d), (Conv1d, nn.Conv1d)
# The classes whose calls `merged_end` leaves out, as they are defined here.
PLAIN_CONVOLUTIONS = PlainClasses((UpBlock, *_UPS, *_OUTS))
