"""Text folders and packed files of the same invented stays; the views and their absence."""

from dataclasses import replace

import numpy as np
import pytest

from primo_pyro.data import load_physionet2012, physionet2012
from primo_pyro.data.physionet2012 import STATIC, STATIC_COLUMNS, mortality6, read_stays
from primo_pyro.data.physionet2012_hours import (
    BLOCKS,
    FOUR_BLOCKS,
    LABS,
    LOGARITHMIC,
    PLACES,
    SERIES,
    VITALS,
    block_hours,
    hours,
)
from primo_pyro.data.source import sha256_of
from primo_pyro.errors import DataFileError, PrimoError

PER_SET = 30
NAMES = [*PLACES, "Creatinine"]  # the last one is not in the benchmark
ALL_NAMES = [*FOUR_BLOCKS.places, "MechVent"]  # the last one is in no view
CHANNELS = list(FOUR_BLOCKS.places)[:32]
HEAD = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"


@pytest.fixture(scope="module")
def invented():
    """Events and outcomes of 90 stays; some without laboratory values, some without anything else."""
    return invent(NAMES, lab={"PaO2", "BUN", "WBC", "HCO3", "Na", "K", "Bilirubin"})


@pytest.fixture(scope="module")
def with_blocks():
    """The same with all variables; some without a blood gas but its share of oxygen."""
    return invent(ALL_NAMES, lab=set(BLOCKS["blood_gas"]) - {"FiO2"})


def invent(names, lab):
    random = np.random.default_rng(0)
    typical = {"GCS": 12, "SysABP": 120, "HR": 80, "Temp": 37, "PaO2": 90, "FiO2": 0.5, "Na": 140}
    typical |= {"pH": 7.2, "SaO2": 70, "DiasABP": 60, "NIDiasABP": 60, "MAP": 80, "NIMAP": 80, "Albumin": 3}
    stays = []
    for i in range(3 * PER_SET):
        events = []
        for _ in range(60):
            name = names[random.integers(len(names))]
            if (i % 10 == 3 and name in lab) or (i % 10 == 7 and name not in lab):
                continue
            value = round(typical.get(name, 20) * random.uniform(0.6, 1.4), 2)
            events.append((int(random.integers(48 * 60)), name, value))
        events.sort(key=lambda event: event[0])
        static = [random.integers(20, 90), i % 2, -1 if i % 3 else 170, 1 + i % 4, 60 + i % 30]
        stays.append(
            {
                "record": 132_000 + 7 * i,
                "static": static,
                "events": events,
                "survival": [-1, 1, 2, 5, 100, 999][i % 6],
                "death": int(i % 5 == 0),
                "set": i // PER_SET,
            }
        )
    return stays


@pytest.fixture
def text(tmp_path, invented):
    return write_text(tmp_path / "physionet2012", invented)


def write_text(folder, stays):
    for number, letter in enumerate("abc"):
        own = folder / "somewhere" / f"set-{letter}"
        own.mkdir(parents=True)
        rows = [HEAD]
        for stay in (s for s in stays if s["set"] == number):
            lines = ["Time,Parameter,Value", f"00:00,RecordID,{stay['record']}"]
            lines += [f"00:00,{n},{v}" for n, v in zip(STATIC, stay["static"], strict=True)]
            lines += [f"{t // 60:02}:{t % 60:02},{name},{value}" for t, name, value in stay["events"]]
            lines += ["47:10,,"]  # a few rows of the source name no variable
            (own / f"{stay['record']}.txt").write_text("\n".join(lines) + "\n")
            rows.append(f"{stay['record']},6,1,5,{stay['survival']},{stay['death']}")
        (folder / f"Outcomes-{letter}.txt").write_text("\n".join(rows) + "\n")
    return folder


def write_packed(folder, stays, monkeypatch):
    folder.mkdir(exist_ok=True, parents=True)
    events = [event for stay in stays for event in stay["events"]]
    names = sorted({name for _, name, _ in events})
    np.savez(
        folder / "events_48h.npz",
        record_id=np.array([s["record"] for s in stays]),
        set_id=np.array([s["set"] for s in stays], np.uint8),
        static=np.array([s["static"] for s in stays], np.float32),
        outcomes=np.array([(6, 1, 5, s["survival"], s["death"]) for s in stays], np.int16),
        offsets=np.cumsum([0, *(len(s["events"]) for s in stays)]).astype(np.int32),
        time_min=np.array([t for t, _, _ in events], np.uint16),
        var=np.array([names.index(name) for _, name, _ in events], np.uint8),
        value=np.array([value for _, _, value in events], np.float32),
        var_names=np.array(names),
    )
    known = replace(physionet2012.EVENTS, sha256=sha256_of(folder / "events_48h.npz"))
    monkeypatch.setattr(physionet2012, "EVENTS", known)
    return folder


def one_stay(*events):
    """Series and measured of one stay from ``(minute, name, value)``."""
    minute, name, value = zip(*events, strict=True)
    return in_layout(PLACES, hours, SERIES, minute, name, value)


def one_stay_in_blocks(*events):
    return in_layout(FOUR_BLOCKS.places, block_hours, CHANNELS, *zip(*events, strict=True))


def in_layout(places, to_hours, channels, minute, name, value):
    codes = np.array([places[n] for n in name])
    series, measured = to_hours(np.zeros(len(value), int), np.array(minute), codes, np.array(value), 1)
    return dict(zip(channels, series[0].T, strict=True)), dict(zip(channels, measured[0].T, strict=True))


def test_an_hour_holds_the_mean_of_its_values():
    series, measured = one_stay((60, "HR", 80), (119, "HR", 90), (120, "HR", 100), (1440, "HR", 200))
    assert series["HR"][:3].tolist() == [85, 85, 100]
    assert measured["HR"].nonzero()[0].tolist() == [1, 2]
    assert (series["HR"][3:] == 100).all()


def test_gaps_take_the_value_before_else_the_one_after():
    series, measured = one_stay((5 * 60, "Na", 130), (9 * 60, "Na", 150))
    assert (series["Na"][:9] == 130).all()
    assert (series["Na"][9:] == 150).all()
    assert measured["Na"].sum() == 2
    assert np.isnan(series["K"]).all()


def test_urine_gaps_take_the_mean():
    series, _ = one_stay((0, "Urine", 100), (60, "Urine", 300))
    assert series["Urine"][:3].tolist() == [100, 300, 200]


def test_the_cuff_is_used_where_there_is_no_arterial_line():
    series, measured = one_stay((0, "NISysABP", 110), (10, "SysABP", 120), (60, "NISysABP", 90))
    assert series["SysBP"][:2].tolist() == [120, 90]
    assert measured["SysBP"][:3].tolist() == [True, True, False]


def test_the_ratio_is_measured_where_both_are():
    series, measured = one_stay((0, "PaO2", 80), (60, "FiO2", 0.4), (120, "FiO2", 0.8), (120, "PaO2", 160))
    assert series["PaO2/FiO2"][:4] == pytest.approx([200, 200, 200, 200])
    assert measured["PaO2/FiO2"].nonzero()[0].tolist() == [2]


@pytest.mark.parametrize(("name", "value"), [("Temp", 3.0), ("HR", 0), ("FiO2", 21), ("SysABP", 7.5)])
def test_impossible_values_are_not_measured(name, value):
    series, measured = one_stay((0, name, value), (0, "Na", 140))
    assert sum(m.sum() for m in measured.values()) == 1
    assert np.isnan(series[{"SysABP": "SysBP", "FiO2": "PaO2/FiO2"}.get(name, name)]).all()


def test_mortality_classes_at_their_borders():
    days = np.array([-1, 0, 1, 2, 3, 4, 7, 8, 365, 366])
    assert mortality6(days).tolist() == [0, 1, 1, 2, 3, 4, 4, 5, 5, 0]


def test_text_and_packed_events_are_the_same_stays(tmp_path, text, invented, monkeypatch):
    packed = write_packed(tmp_path / "packed", invented, monkeypatch)
    for ours, theirs in zip(read_stays(text), read_stays(packed), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)  # one has its values as float32
    by_name = read_stays(packed / "events_48h.npz")
    np.testing.assert_array_equal(by_name.record, [s["record"] for s in invented])


def test_unknown_static_values_take_the_training_median_and_say_so(text):
    splits = load_physionet2012(text.parent)
    x = splits.train.x.values["static"]
    column = dict(zip(STATIC_COLUMNS, x.T, strict=True))
    number = splits.rows["train"]
    assert x.shape[1] == 11
    assert (column["HeightKnown"] == (number % 3 == 0)).all()
    assert len(np.unique(column["Height"])) == 1  # all known ones are 170 cm
    assert (column["WeightKnown"] == 1).all()
    assert (column["Gender"] == number % 2).all()
    units = x[:, -4:]
    assert (units.argmax(1) == number % 4).all()
    assert (units.sum(1) == 1).all()
    assert column["Age"].mean() == pytest.approx(0, abs=1e-5)
    assert column["Age"].std() == pytest.approx(1, abs=1e-5)


def test_two_views_of_one_series(text):
    two, three = (load_physionet2012(text, view=view, seed=4) for view in ("two", "three"))
    assert two.train.x.names == ("static", "series")
    assert three.train.x.names == ("static", "vitals", "labs")
    series = two.test.x.values["series"]
    assert series.shape[1:] == (24, 24)
    for name, variables in (("vitals", VITALS), ("labs", LABS)):
        own = three.test.x.values[name]
        columns = [*variables, *(12 + v for v in variables)]
        assert (own == series[..., columns]).all()
    assert two.test.x.complete.all()
    assert (two.test.y == three.test.y).all()


def test_absence_is_that_of_the_stays(text, invented):
    splits = load_physionet2012(text, view="three")
    stays = read_stays(text)
    for part in ("train", "validation", "test"):
        x = getattr(splits, part).x
        at = splits.rows[part]
        assert (x.present["labs"] == stays.measured[at][..., LABS].any((1, 2))).all()
        assert (x.present["vitals"] == stays.measured[at][..., VITALS].any((1, 2))).all()
        assert not x.present["labs"][at % 10 == 3].any()
        assert not x.present["vitals"][at % 10 == 7].any()
        assert x.present["static"].all()
    assert 0.5 < np.mean(splits.train.x.present["labs"]) < 1


def test_channels_are_values_then_indicators(text):
    stays = read_stays(text)
    splits = load_physionet2012(text)
    x = splits.train.x.values["series"]
    at = splits.rows["train"]
    assert (x[..., 12:] == stays.measured[at]).all()
    never = np.isnan(stays.series[at])
    assert never.any()
    assert (x[..., :12][never] == 0).all()
    assert np.abs(x[..., :12]).max() <= 5
    known = np.where(never, np.nan, x[..., :12])
    assert np.nanmean(known, (0, 1)) == pytest.approx(0, abs=0.1)  # clipping moves it a little


def test_nothing_is_learnt_from_rows_outside_training(tmp_path, invented, text):
    splits = load_physionet2012(text, view="three")
    outside = {*splits.rows["validation"], *splits.rows["test"]}
    changed = [
        s | {"events": [(t, n, v * 1.2) for t, n, v in s["events"]], "static": [88, 1, 199, 2, 150]}
        if i in outside
        else s
        for i, s in enumerate(invented)
    ]
    again = load_physionet2012(write_text(tmp_path / "changed", changed), view="three")
    for name in splits.train.x.names:
        assert (splits.train.x.values[name] == again.train.x.values[name]).all()
        assert (splits.test.x.values[name] != again.test.x.values[name]).any()


def test_each_stay_is_in_one_part(text):
    splits = load_physionet2012(text, task="mortality6", seed=1)
    assert np.sort(np.concatenate(list(splits.rows.values()))).tolist() == list(range(3 * PER_SET))
    assert [len(at) for at in splits.rows.values()] == [58, 14, 18]
    assert splits.train.y.tolist() == [[0, 1, 2, 4, 5, 0][i % 6] for i in splits.rows["train"]]
    other = load_physionet2012(text, seed=2)
    assert (other.rows["train"] != splits.rows["train"]).any()


def test_the_sets_as_parts(text):
    splits = load_physionet2012(text, split="sets")
    assert splits.rows["validation"].tolist() == list(range(PER_SET, 2 * PER_SET))
    (text / "Outcomes-c.txt").unlink()
    assert len(load_physionet2012(text).train.y) == 38
    with pytest.raises(DataFileError, match=r"none is for test .* expected at least one"):
        load_physionet2012(text, split="sets")


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: (f / "somewhere/set-b/132217.txt").unlink(),
            r"132217.txt is missing; expected a record for each stay",
        ),
        (lambda f: (f / "somewhere/set-a/132000.txt").write_text(""), r"132000.txt has the line ''"),
        (
            lambda f: edit(f / "somewhere/set-a/132007.txt", "47:10,,", "47:1"),
            r"132007.txt has the line '47:1'",
        ),
        (lambda f: edit(f / "somewhere/set-a/132007.txt", "Age,", "Age,x"), "132007.txt has the line"),
        (
            lambda f: edit(f / "Outcomes-a.txt", "RecordID", "Id"),
            "Outcomes-a.txt starts with .*; expected the names",
        ),
        (lambda f: edit(f / "Outcomes-a.txt", ",6,1,5", ",6"), "expected six numbers"),
        (lambda f: edit(f / "Outcomes-a.txt", ",6,1,5", ",6,?,5"), "whole numbers"),
    ],
)
def test_damaged_text_is_refused(text, damage, message):
    damage(text)
    with pytest.raises(DataFileError, match=message):
        load_physionet2012(text)


def test_a_damaged_packed_file_is_refused(tmp_path, invented, monkeypatch):
    packed = write_packed(tmp_path / "packed", invented, monkeypatch) / "events_48h.npz"
    packed.write_bytes(packed.read_bytes()[:-7])
    with pytest.raises(DataFileError, match="truncated, was edited"):
        load_physionet2012(packed)


def test_nothing_there_says_what_to_get(tmp_path):
    with pytest.raises(DataFileError, match=r"physionet\.org/content/challenge-2012"):
        load_physionet2012(tmp_path)
    (tmp_path / "other.npz").write_bytes(b"")
    with pytest.raises(DataFileError, match="PhysioNet 2012 was not found"):
        load_physionet2012(tmp_path / "other.npz")


@pytest.mark.parametrize("wrong", [{"task": "mortality"}, {"view": "four"}, {"split": "half"}])
def test_unknown_choices_are_refused(wrong):
    with pytest.raises(PrimoError, match=r"; expected .* Choose one"):
        load_physionet2012(**wrong)


def test_blocks_have_the_hours_of_the_benchmark(text):
    shared = [v for v in CHANNELS if v in SERIES and v not in LOGARITHMIC]
    assert shared == ["GCS", "HR", "Temp", "Urine", "Na", "K", "HCO3"]
    ours, theirs = read_stays(text, FOUR_BLOCKS), read_stays(text)
    for name in [*shared, "BUN", "SysABP"]:
        i, j = CHANNELS.index(name), SERIES.index({"SysABP": "SysBP"}.get(name, name))
        expected = np.log1p(theirs.series[..., j]) if name in LOGARITHMIC else theirs.series[..., j]
        np.testing.assert_array_equal(ours.series[..., i], expected)
        np.testing.assert_array_equal(ours.measured[..., i], theirs.measured[..., j])


@pytest.mark.parametrize(
    ("arterial", "cuff"), [("SysABP", "NISysABP"), ("DiasABP", "NIDiasABP"), ("MAP", "NIMAP")]
)
def test_each_pressure_takes_its_own_cuff(arterial, cuff):
    series, measured = one_stay_in_blocks((0, cuff, 80), (10, arterial, 90), (60, cuff, 70))
    assert series[arterial][:2].tolist() == [90, 70]
    assert measured[arterial].nonzero()[0].tolist() == [0, 1]
    assert sum(m.sum() for m in measured.values()) == 2


def test_skewed_variables_are_logarithms_of_hourly_means():
    series, _ = one_stay_in_blocks((0, "AST", 10), (30, "AST", 30), (0, "HCT", 30))
    np.testing.assert_allclose(series["AST"], np.log(21), rtol=1e-6)
    assert (series["HCT"] == 30).all()
    assert np.isnan(series["ALT"]).all()


def test_values_out_of_range_count_in_no_block():
    _, measured = one_stay_in_blocks((0, "pH", 735), (0, "DiasABP", 0), (0, "Mg", 30), (1440, "HCT", 30))
    assert not any(m.any() for m in measured.values())


def test_text_and_packed_events_have_the_same_blocks(tmp_path, with_blocks, monkeypatch):
    packed = write_packed(tmp_path / "packed", with_blocks, monkeypatch)
    text = write_text(tmp_path / "text", with_blocks)
    for ours, theirs in zip(read_stays(text, FOUR_BLOCKS), read_stays(packed, FOUR_BLOCKS), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6)  # one has its values as float32


def test_five_modalities(tmp_path, with_blocks):
    text = write_text(tmp_path / "physionet2012", with_blocks)
    five, two = load_physionet2012(text, view="five", seed=4), load_physionet2012(text, seed=4)
    stays = read_stays(text, FOUR_BLOCKS)
    assert five.train.x.names == ("static", *BLOCKS)
    assert (five.test.y == two.test.y).all()
    assert (five.test.x.values["static"] == two.test.x.values["static"]).all()
    for part in ("train", "validation", "test"):
        x, at = getattr(five, part).x, five.rows[part]
        for name, variables in BLOCKS.items():
            columns = [CHANNELS.index(v) for v in variables]
            values, indicators = np.split(x.values[name], 2, axis=2)
            assert values.shape == (len(at), 24, len(variables))
            assert (indicators == stays.measured[at][..., columns]).all()
            never = np.isnan(stays.series[at][..., columns])
            assert never.any()
            assert (values[never] == 0).all()
            assert np.abs(values).max() <= 5
            deciding = [c for c, v in zip(columns, variables, strict=True) if v != "FiO2"]
            assert (x.present[name] == stays.measured[at][..., deciding].any((1, 2))).all()
            if part == "train":  # which sets the mean; clipping moves it a little
                assert np.nanmean(np.where(never, np.nan, values), (0, 1)) == pytest.approx(0, abs=0.1)
        oxygen = stays.measured[at][..., CHANNELS.index("FiO2")].any(1)
        assert not x.present["blood_gas"][at % 10 == 3].any()
        assert part != "train" or oxygen[at % 10 == 3].any()


def test_five_modalities_learn_nothing_from_rows_outside_training(tmp_path, with_blocks):
    splits = load_physionet2012(write_text(tmp_path / "a", with_blocks), view="five")
    outside = {*splits.rows["validation"], *splits.rows["test"]}
    changed = [
        s | {"events": [(t, n, round(v * 1.2, 2)) for t, n, v in s["events"]]} if i in outside else s
        for i, s in enumerate(with_blocks)
    ]
    again = load_physionet2012(write_text(tmp_path / "b", changed), view="five")
    for name in splits.train.x.names:
        assert (splits.train.x.values[name] == again.train.x.values[name]).all()
        assert name == "static" or (splits.test.x.values[name] != again.test.x.values[name]).any()


def test_five_modalities_need_the_events(tmp_path, with_blocks, monkeypatch):
    (tmp_path / "benchmark_layout_24h.npz").write_bytes(b"of no use here")
    with pytest.raises(DataFileError, match=r"event by event \(events_48h\.npz or text"):
        load_physionet2012(tmp_path, view="five")
    with pytest.raises(DataFileError, match="event by event"):
        load_physionet2012(tmp_path / "benchmark_layout_24h.npz", view="five")
    write_packed(tmp_path, with_blocks, monkeypatch)
    assert load_physionet2012(tmp_path, view="five").train.x.names == ("static", *BLOCKS)


def test_real_stays(real_data):
    layout = read_stays(real_data)
    events = read_stays(real_data / "physionet2012" / "events_48h.npz")
    for ours, theirs in zip(layout, events, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert np.bincount(mortality6(layout.survival)).tolist() == [8795, 91, 204, 151, 473, 2286]
    splits = load_physionet2012(real_data, view="three")
    frame = splits.describe()
    assert frame["rows"].tolist() == [7680, 1920, 2400]
    absent = ((1 - frame[["vitals", "labs"]]) * frame[["rows"]].to_numpy()).sum().round()
    assert absent.tolist() == [198, 186]
    assert frame["died"].to_numpy() == pytest.approx(0.142, abs=0.01)


def test_real_stays_in_five_modalities(real_data):
    splits = load_physionet2012(real_data, view="five")
    parts = splits.train, splits.validation, splits.test
    present = np.concatenate([np.stack([x.present[m] for m in BLOCKS], 1) for x, _ in parts])
    assert (~present).sum(0).tolist() == [198, 2877, 249, 299]
    assert len(np.unique(present, axis=0)) == 15
    for name, variables in BLOCKS.items():
        values, indicators = np.split(splits.train.x.values[name], 2, axis=2)
        assert values.shape == (7680, 24, len(variables))
        assert (indicators.mean((0, 1)) > 0).all()
        assert (values.std((0, 1)) > 0).all()
