"""What other libraries say while they are imported, and no user of ours can do anything about, is not said.

transformers imports torchao wherever it is installed, whether int8 was asked for or not; torchao then tells of kernels
for processors that are not here, and torch of a habit of torchao's (docs/explanation/decisions/043.md).
"""

import logging

# logger -> how the messages begin
_IDLE = {
    "torchao": ("Failed to load ", "Skipping import of cpp extensions"),
    "torch.utils._pytree": ("%s is an Enum subclass and is now natively supported",),
}


class _WithoutIdle(logging.Filter):
    """Lets everything pass but the messages above."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(_IDLE[record.name])


def hush() -> None:
    """Drop those messages from now on; calling it again changes nothing."""
    for name in _IDLE:
        logger = logging.getLogger(name)
        if not any(isinstance(one, _WithoutIdle) for one in logger.filters):
            logger.addFilter(_WithoutIdle())
