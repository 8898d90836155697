from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.commands import Commands
from tests.faults.jobs import Job, export_job, file_job, overwriting, train_job
from tests.faults.ledger import DEFAULT_FAULTS, Ledger

LEDGER = pytest.StashKey[Ledger]()
HERE = Path(__file__).parent
ROWS = 4500


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEDGER] = Ledger(config.getoption("--faults") or DEFAULT_FAULTS, config.getoption("--faults-seed"))


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ledger = config.stash.get(LEDGER, None)
    if ledger and ledger.tried:
        terminalreporter.section("faults")
        terminalreporter.write_line(str(ledger))


@pytest.fixture(scope="session")
def ledger(pytestconfig: pytest.Config) -> Ledger:
    """What counts the faults of this session."""
    return pytestconfig.stash[LEDGER]


@pytest.fixture
def new_folder(tmp_path: Path) -> Callable[[], Path]:
    """Make a folder, at each call another one; threads may call at once."""
    numbers = itertools.count()

    def make() -> Path:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return folder

    return make


def serving(mode: str) -> Callable[[pytest.TempPathFactory], Iterator[Commands]]:
    """Make a fixture of commands that have loaded what `mode` says."""

    @pytest.fixture(scope="session", name=mode)
    def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
        running = Commands(mode, tmp_path_factory.mktemp(mode))
        yield running
        running.close()

    return commands


cold, light, heavy = serving("cold"), serving("light"), serving("heavy")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which everything lies that a test makes: steps on files count here."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows enough for several chunks of a job, every seventh of them a bad one."""
    path = tmp_path_factory.mktemp("rows") / "in.csv"
    lines = (f"{number},The movie was great {number}" if number % 7 else str(number) for number in range(ROWS))
    path.write_text("id,text\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def recipe(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path], reviews: Path
) -> Callable[[int], Path]:
    """Write a recipe that trains the tiny model for some steps, by seed."""

    def write(seed: int) -> Path:
        path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
        model = tiny_model("single_label_classification")
        path.write_text(
            f'model = "{model}"\ndataset = "{reviews}"\nvalidation = 0.25\nmax_length = 32\nepochs = 2.0\n'
            'train_batch_size = 8\nlearning_rate = 5e-3\nsave_steps = 4\nlogging_steps = 2\nprecision = "fp32"\n'
            f"seed = {seed}\n"
        )
        return path

    return write


@pytest.fixture(scope="session")
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, base: Path) -> Callable[[str], Job]:
    """Give a job by name, done once without a fault; `over` in the name: over an earlier result."""
    done: dict[str, Job] = {}

    def make(name: str) -> Job:
        kind, *over = name.split()
        if kind == "train":
            made = train_job(request.getfixturevalue("heavy"), request.getfixturevalue("recipe")(42))
        elif kind == "export":
            made = export_job(request.getfixturevalue("heavy"), request.getfixturevalue("tiny_run"))
        else:
            model, source = request.getfixturevalue("tiny_export"), request.getfixturevalue("rows")
            made = file_job(request.getfixturevalue("light"), model / "model_quantized.onnx", source, kind)
        return overwriting(made, earlier(kind)) if over else made

    def earlier(kind: str) -> Path:
        """Make what stands at the result's place before."""
        if kind in ("train", "export"):
            return Path(request.getfixturevalue({"train": "tiny_run", "export": "earlier_export"}[kind]))
        path = tmp_path_factory.mktemp("earlier") / f"out.{kind}"
        path.write_text("an earlier result\n")
        return path

    def get(name: str) -> Job:
        if name not in done:
            done[name] = make(name).measured(tmp_path_factory.mktemp("whole") / "job", base)
        return done[name]

    return get


@pytest.fixture(scope="session")
def earlier_export(heavy: Commands, job: Callable[[str], Job]) -> Path:
    """The export of another run than the one that is exported over it."""
    run = job("train").kept
    outcome = heavy.run("export", run, "--quantize", "none", "--output", run.parent / "onnx")
    assert outcome.status == 0, outcome.stderr
    return run.parent / "onnx"
