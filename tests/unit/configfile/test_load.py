"""What a configuration file means."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Config, Model, Reference
from stream.configfile import ConfigurationError, load, parse

FULL = Path(__file__).parents[1] / "configurations" / "good" / "full.yaml"


def read(text: str, **environment: str) -> Config:
    return parse(text, "monitor.yaml", environment)


def refused(text: str, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(text, **environment)
    return str(caught.value)


def test_nothing_is_all_defaults() -> None:
    assert read("") == read("models:") == read("{models: {}, unknown_models: monitor}") == Config()


def test_the_example_of_the_documentation() -> None:
    config = load(FULL, {})
    model = config.models["car-loan"]
    assert config.kafka.brokers == ("localhost:9092",)
    assert config.checkpoint.every == 0.5
    assert (model.horizon, model.pane, model.windows) == (30 * 86400.0, 3600.0, (3600.0, 86400.0))
    assert model.rules is not None
    assert [rule.name for rule in model.rules] == ["auc-drop", "income-drift", "concept", "silence"]
    assert model.rules[0].hold == 300.0
    assert model.positive == 1
    assert model.learn.challengers[0].model[1] == {"river.linear_model.LogisticRegression": {"l2": 0.001}}


def test_files_are_relative_to_the_configuration() -> None:
    reference = load(FULL, {}).models["car-loan"].reference
    assert reference.predictions == str(FULL.parent.absolute() / "ref-predictions.jsonl")


def test_a_model_has_what_defaults_say_unless_it_says_otherwise() -> None:
    config = read(
        """
        defaults: {pane: 5m, windows: [10m], rules: [], reference: {first: 77}}
        models: {a: {}, b: {pane: 1m}, c: {reference: {first: 9}}, d: }
        """
    )
    assert config.models["a"] == config.models["d"] == config.defaults == config.model("not named")
    assert config.models["b"] == Model(pane=60.0, windows=(600.0,), rules=(), reference=Reference(first=77))
    assert config.models["c"].reference == Reference(first=9)


def test_a_reference_of_another_kind_replaces_the_default_one(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"")
    config = parse("{defaults: {reference: {first: 5}}, models: {a: {reference: {file: r}}}}", "f", {}, tmp_path)
    assert config.models["a"].reference == Reference(file=str(tmp_path / "r"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("250ms", 0.25), ("5s", 5), ("10m", 600), ("1.5h", 5400), ("7d", 604800), ('"10m"', 600), ("0", 0)],
)
def test_durations(text: str, value: float) -> None:
    assert read(f"max_skew: {text}").max_skew == value


@pytest.mark.parametrize("text", ["5", "-1s", "5 minutes", "1h30m", "", "1e3s", "true", "[5s]", "99999999d"])
def test_not_durations(text: str) -> None:
    assert "max_skew: found" in refused(f"max_skew: {text}")


def test_scalars_are_those_of_yaml_1_2() -> None:
    assert read("models: {a: {positive: yes}}").models["a"].positive == "yes"
    assert read("models: {a: {positive: true}}").models["a"].positive is True
    assert read("models: {a: {positive: 1e-3}}").models["a"].positive == 0.001
    assert read("models: {a: {positive: 2024-01-01}}").models["a"].positive == "2024-01-01"
    assert read("models: {1: {}}").models == {"1": Model()}


def test_variables() -> None:
    config = read(
        """
        kafka: {group: "team-${TEAM}", instance: "${NUMBER}"}
        http: {port: "${NUMBER}"}
        checkpoint: {key: "$${TEAM}-0123456789abcdef"}
        """,
        TEAM="fraud",
        NUMBER="8080",
    )
    assert config.kafka.group == "team-fraud"
    assert config.kafka.instance == "8080"
    assert config.http.port == 8080
    assert config.checkpoint.key == "${TEAM}-0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        'kafka: {group: "", brokers: ["${S}"]}',
        'kafka: {instance: "a/${S}"}',
        'kafka: {topics: {labels: " ${S}"}}',
        'kafka: {partitions: "${S}"}',
        'checkpoint: {store: "redis://user:${S}@:6379"}',
        'checkpoint: {store: "redis://host:${S}"}',
        'checkpoint: {every: "${S}"}',
        'models: {a: {task: "${S}"}}',
        'models: {a: {rules: [{name: r, metric: accuracy, segment: "${S}"}]}}',
        'models: {a: {reference: {file: "${S}"}}}',
        "checkpoint: {key: [hunter2-hunter2-hunter2]}",
        "kafka: {security: {sasl_password: 123}}",
        'checkpoint: {store: "redis://user:hunter2-hunter2-hunter2@host:port"}',
    ],
)
def test_no_message_shows_a_secret(text: str) -> None:
    message = refused(text, S="hunter2-hunter2-hunter2")
    assert "hunter2" not in message
    assert "123" not in message


def test_all_problems_are_reported_in_the_order_of_the_file() -> None:
    lines = refused("http: {port: x}\nkafka: {partitions: 0}\nmodel: {}\ndefaults: {pane: 1}").splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"monitor.yaml:{i}" for i in (1, 2, 3, 4)]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: no such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"models: {\xe9: {}}")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load(tmp_path / "latin.yaml")


def test_aliases_that_multiply_are_refused() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
    assert "more than 200,000 values" in refused(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1h", "accuracy"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "metric", "rules", "a", "kafka", "models", "defaults", "window", "below", "first"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["kafka", "checkpoint", "http", "defaults", "models", "limits", "max_skew"]), values, max_size=4
    )
)
def test_any_values_load_or_are_refused_with_a_place(document: dict[str, object]) -> None:
    import yaml

    try:
        config = read(yaml.safe_dump(document, allow_unicode=True))
    except ConfigurationError as error:
        assert error.problems
        assert all(problem.message for problem in error.problems)
    else:
        assert isinstance(config, Config)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="{}[]:,-&*!|>'\"#%@` \n$a1", max_size=40))
def test_any_text_loads_or_is_refused(text: str) -> None:
    try:
        read(text)
    except ConfigurationError as error:
        assert error.problems


@pytest.mark.parametrize("text", ["a:1,b:2", "'a:1, b:2'", "[a:1, b:2]", "['a:1,b:2']"])
def test_brokers_are_a_list_or_text(text: str) -> None:
    assert read(f"kafka: {{brokers: {text}}}" if text[0] in "['" else f"kafka:\n  brokers: {text}").kafka.brokers == (
        "a:1",
        "b:2",
    )
