"""How the codes of an unfinished song were found is read in the words of every version."""

from jukebox_hf.app.runs.backend_notes import backend_noted, backends_of


def test_words_of_older_versions_are_read_as_the_backends_they_are():
    assert backends_of({"stepping": '{"2": "native", "1": "captured, plain", "0": "fused"}'}) == {
        2: "cpp",
        1: "cuda_graph, eager",
        0: "triton",
    }


def test_a_song_of_an_older_version_goes_on_without_a_word_where_nothing_changed():
    said = []
    notes = backend_noted({"stepping": '{"2": "native"}'}, 2, "cpp", said.append)
    assert (backends_of(notes), said) == ({2: "cpp"}, [])
    backend_noted(notes, 1, "eager", said.append)
    assert said == [
        "jukebox-hf: the song was begun with backend cpp and goes on with eager; its codes can differ from those of "
        "one run"
    ]
