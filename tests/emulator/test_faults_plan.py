"""The fault plan: when a rule strikes, how it is written, that a seed repeats it."""

import pytest

from xferengine.emulator.config import EmulatorConfig
from xferengine.emulator.faults import FaultPlan, Kind
from xferengine.emulator.switches import parse_switches

IMPORT = "/data/services/import?import-handler=DICOM-zip"


def struck(plan: FaultPlan, count: int, method: str = "POST", target: str = IMPORT) -> list[bool]:
    """Return for each of some requests whether it was struck."""
    return [plan.strike(method, target) is not None for _ in range(count)]


def test_nth_strikes_once():
    plan = FaultPlan()
    plan.add("reset-before-body", match="services/import", nth=3)
    assert struck(plan, 5) == [False, False, True, False, False]


def test_nth_with_times_strikes_a_run():
    plan = FaultPlan()
    plan.add("unavailable", nth=2, times=2)
    assert struck(plan, 5) == [False, True, True, False, False]


def test_times_alone_strikes_the_first():
    plan = FaultPlan()
    plan.add("unavailable", times=2)
    assert struck(plan, 4) == [True, True, False, False]


def test_without_condition_strikes_always():
    plan = FaultPlan()
    plan.add("login-page")
    assert all(struck(plan, 10))


def test_rate_is_repeated_by_the_seed_and_near_its_value():
    def draw(seed: int) -> list[bool]:
        plan = FaultPlan(seed)
        plan.add("too-many", rate=0.1)
        return struck(plan, 2000)

    assert draw(7) == draw(7) != draw(8)
    assert 140 < sum(draw(7)) < 260


def test_method_and_path_select():
    plan = FaultPlan()
    plan.add("bad-gateway", match=r"services/import\?", method="post")
    assert struck(plan, 1) == [True]
    assert struck(plan, 1, method="GET") == [False]
    assert struck(plan, 1, target="/data/projects") == [False]


def test_hook_kinds_do_not_strike_requests():
    plan = FaultPlan()
    plan.add("instance-lost")
    assert struck(plan, 2) == [False, False]
    assert plan.strike("", "/prearchive/x", (Kind.INSTANCE_LOST,)) is not None
    assert [hit.kind for hit in plan.hits] == [Kind.INSTANCE_LOST]


def test_spec():
    plan = FaultPlan()
    rule = plan.add_spec("early-error:path=services/import,nth=2,times=3,status=503,delay-s=0.5,method=POST")
    assert (rule.kind, rule.match.pattern, rule.nth, rule.times) == (Kind.EARLY_ERROR, "services/import", 2, 3)
    assert (rule.status, rule.delay_s, rule.method) == (503, 0.5, "POST")


@pytest.mark.parametrize(
    "spec",
    ["frobnicate", "unavailable:rate", "unavailable:rate=x", "unavailable:colour=red", "unavailable:path=(", "", ":"],
)
def test_wrong_spec_is_refused(spec):
    with pytest.raises(ValueError, match=r"\S"):
        FaultPlan().add_spec(spec)


def test_clear():
    plan = FaultPlan()
    plan.add("unavailable")
    plan.clear()
    assert struck(plan, 1) == [False]


def test_switches_make_a_config():
    faulty = ["--fault", "unavailable:nth=3", "--seed", "7", "--script-rewrite"]
    slow = ["--instance-ms", "2", "--instance-lock-ms", "0.1", "--request-ms", "1"]
    config = parse_switches(["--port", "0", "--project", "A", "--project", "B", *faulty, *slow])
    assert (config.port, config.projects, config.faults, config.seed) == (0, ("A", "B"), ("unavailable:nth=3",), 7)
    assert (config.instance_ms, config.instance_lock_ms, config.request_ms) == (2.0, 0.1, 1.0)
    assert config.script.rewrite


def test_switches_default_to_the_config():
    assert parse_switches(["--port", "0"]) == EmulatorConfig()
