"""Planning for several backends, some of which refuse the model."""

from types import SimpleNamespace

import pytest

from modelport.build import plan_all, plan_each
from modelport.errors import SpecError

MODEL = SimpleNamespace(spec=SimpleNamespace(backends={}))


class Accepting:
    name = "accepting"

    def parse_options(self, raw):
        return raw

    def plan(self, model, options):
        return SimpleNamespace(backend=self.name)


class Refusing(Accepting):
    name = "refusing"

    def plan(self, model, options):
        raise SpecError("transform: no Python runs here")


def test_one_refusal_leaves_the_other_plans():
    plans, refusals = plan_each([Refusing(), Accepting()], MODEL)
    assert [plan.backend for plan in plans] == ["accepting"]
    assert {name: str(error) for name, error in refusals.items()} == {"refusing": "transform: no Python runs here"}


def test_refusals_name_their_backend_and_the_way_on():
    with pytest.raises(SpecError) as caught:
        plan_all([Accepting(), Refusing()], MODEL)
    assert str(caught.value).splitlines() == [
        "refusing: transform: no Python runs here",
        "nothing was built; for the others alone: -b accepting",
    ]


def test_a_single_backend_s_refusal_is_told_as_it_is():
    with pytest.raises(SpecError, match=r"\Atransform: no Python runs here\Z"):
        plan_all([Refusing()], MODEL)
