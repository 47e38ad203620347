"""What a config asks for is known before anything is made."""

from hypothesis import given
from hypothesis import strategies as st

from core.architectures import MlpSpec

widths = st.lists(st.integers(1, 50), min_size=1, max_size=5)


@given(st.integers(1, 3000), widths, st.integers(2, 20))
def test_parameters_are_the_weights_and_biases_between_the_layers(pixels: int, hidden: list[int], classes: int) -> None:
    spec = MlpSpec(architecture="mlp", hidden=tuple(hidden))
    counted, before = 0, pixels
    for units in [*hidden, classes]:
        counted += before * units + units
        before = units
    assert spec.parameters(pixels, classes) == counted


def test_the_papers_student_has_its_size() -> None:
    """Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 3: two hidden layers of 800 units."""
    assert MlpSpec(architecture="mlp", hidden=(800, 800)).parameters(784, 10) == 1_276_810
