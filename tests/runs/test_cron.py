"""Times of schedules: zones, clocks that change, and systemd's spelling."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunepipe.errors import UsageError
from tunepipe.runs.cron import (
    Cron,
    next_run,
    next_runs,
    on_calendar,
    os_timers,
    parse,
    run_command,
    with_sunday_as_zero,
)

SUNDAY = datetime(2026, 11, 22, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "cron"),
    [
        ("0 3 * * 1", "", Cron("0 3 * * 1")),
        ("0  3 * * MON ", "", Cron("0 3 * * MON")),
        ("TZ=Asia/Tokyo 0 3 * * 1", "", Cron("0 3 * * 1", "Asia/Tokyo")),
        ("CRON_TZ=Asia/Tokyo 0 3 * * 1", "Asia/Tokyo", Cron("0 3 * * 1", "Asia/Tokyo")),
        ("0 3 * * 1", "Asia/Tokyo", Cron("0 3 * * 1", "Asia/Tokyo")),
    ],
)
def test_a_zone_stands_before_the_fields_or_apart(text, zone, cron):
    assert parse(text, zone) == cron
    assert parse(str(cron)) == cron


@pytest.mark.parametrize(
    ("text", "zone", "found"),
    [
        ("", "", "no cron expression"),
        ("0 3 * *", "", "no cron expression"),
        ("0 0 3 * * 1", "", "no cron expression"),
        ("@weekly", "", "no cron expression"),
        ("60 3 * * 1", "", "no cron expression: .* out of range"),
        ("0 3 * * 1-a", "", "no cron expression: "),
        ("TZ=Asia/Tokyo", "", "no cron expression"),
        ("TZ=Tokio/Tokio 0 3 * * 1", "", "no time zone Tokio/Tokio"),
        ("0 3 * * 1", "../etc/passwd", "no time zone"),
        ("TZ=UTC 0 3 * * 1", "Asia/Tokyo", "two zones"),
    ],
)
def test_what_is_no_schedule(text, zone, found):
    with pytest.raises(UsageError, match=found):
        parse(text, zone)


@pytest.mark.parametrize(
    ("cron", "after", "times"),
    [
        # Monday three o'clock in Tokyo is still Sunday in London.
        (Cron("0 3 * * 1", "Asia/Tokyo"), SUNDAY, ["2026-11-23T03:00+09:00"]),
        (Cron("0 3 * * 1", "Asia/Tokyo"), datetime(2026, 11, 22, 18, tzinfo=UTC),
         ["2026-11-30T03:00+09:00"]),
        # The clocks go back: the hour is the same for people, another in UTC.
        (Cron("0 9 * * 0", "Europe/Berlin"), datetime(2026, 10, 17, tzinfo=UTC),
         ["2026-10-18T09:00+02:00", "2026-10-25T09:00+01:00"]),
        (Cron("0 3 30 2 *"), SUNDAY, []),
    ],
)  # fmt: skip
def test_next_runs(cron, after, times):
    found = [time.isoformat(timespec="minutes") for time in next_runs(cron, after, len(times) or 3)]
    assert found == times


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ("0 3 * * 1", ["Mon *-*-* 03:00:00 UTC"]),
        ("*/20 3,15 * * *", ["*-*-* 03,15:00,20,40:00 UTC"]),
        ("30 4 1 JAN-MAR *", ["*-01,02,03-01 04:30:00 UTC"]),
        ("0 0 1 * 5-7", ["*-*-01 00:00:00 UTC", "Sun,Fri,Sat *-*-* 00:00:00 UTC"]),
        ("10/25 * * * *", ["*-*-* *:10,35:00 UTC"]),
        ("0 3 * * FRI-MON", ["Sun,Mon,Fri,Sat *-*-* 03:00:00 UTC"]),
        ("0 22-1,12 * * *", ["*-*-* 00,01,12,22,23:00:00 UTC"]),
    ],
)
def test_on_calendar(fields, lines):
    assert on_calendar(Cron(fields)) == lines


@pytest.mark.parametrize("fields", ["0 3 L * *", "0 3 * * 1#1"])
def test_what_systemd_cannot_say(fields):
    with pytest.raises(UsageError):
        on_calendar(Cron(fields))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
@pytest.mark.parametrize("fields", ["0 3 * * 1", "*/20 3,15 * * *", "15 2 1 JAN-MAR 5-7"])
def test_systemd_means_the_same(fields):
    ours = next_runs(Cron(fields), SUNDAY, 1)[0]
    told = subprocess.run(
        ["systemd-analyze", "calendar", f"--base-time={SUNDAY:%Y-%m-%d %H:%M} UTC",
         *on_calendar(Cron(fields))],
        capture_output=True, text=True, check=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip
    times = [line.partition(": ")[2] for line in told.splitlines() if "Next elapse" in line]
    assert f"{ours:%a %Y-%m-%d %H:%M:%S} UTC" in times


@pytest.mark.parametrize(
    ("fields", "there"),
    [
        ("0 3 * * 7", "0 3 * * 0"),
        ("0 3 * * 5-7", "0 3 * * 0,5,6"),
        ("0 3 * * 1,7", "0 3 * * 0,1"),
        ("7 7 7 7 1-5", "7 7 7 7 1-5"),
        ("0 3 * * SUN", "0 3 * * SUN"),
    ],
)
def test_sunday_is_zero_on_a_kfp_host(fields: str, there: str) -> None:
    assert with_sunday_as_zero(parse(fields)) == there


@pytest.mark.parametrize(
    ("cron", "shown"),
    [
        ("TZ=Asia/Tokyo 0 3 * * 1", "2026-11-23T03:00+09:00"),
        ("0 3 30 2 *", ""),
        ("", ""),
    ],
)
def test_the_next_time_of_a_schedule(cron: str, shown: str) -> None:
    assert next_run(cron, SUNDAY) == shown


def test_the_command_of_a_schedule_has_the_options_that_were_set() -> None:
    options = {
        "dataset": "rows.jsonl", "train_steps": 30, "again": True, "wait": False,
        "param": ["a=1", "b=2"], "email": ("c@d.e",), "option": [],
    }  # fmt: skip
    program, *words = run_command(options)
    assert program.endswith("tunepipe")
    assert words == [
        "run", "--dataset", "rows.jsonl", "--train-steps", "30", "--again",
        "--param", "a=1", "--param", "b=2", "--email", "c@d.e",
    ]  # fmt: skip


def test_a_schedule_is_written_for_cron_and_for_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "100 %"
    folder.mkdir()
    monkeypatch.chdir(folder)
    when = Cron("0 3 1 * 1", "Asia/Tokyo")
    assert os_timers("weekly", when, ["tunepipe", "run", "--param", "a=$5 %"]) == {
        "cron": "# crontab -e; the cron of Debian and Ubuntu knows no CRON_TZ and takes its own "
        f"zone\nCRON_TZ=Asia/Tokyo\n0 3 1 * 1 cd '{tmp_path}/100 \\%' && tunepipe run --param "
        "'a=$5 \\%' >>weekly.log 2>&1\n",
        "service": "# ~/.config/systemd/user/tunepipe-weekly.service\n[Unit]\nDescription=tunepipe "
        f"weekly\n\n[Service]\nType=oneshot\nWorkingDirectory={tmp_path}/100 %%\n"
        'ExecStart="tunepipe" "run" "--param" "a=$$5 %%"\n',
        "timer": "# ~/.config/systemd/user/tunepipe-weekly.timer; then:\n"
        "# systemctl --user daemon-reload && systemctl --user enable --now tunepipe-weekly.timer\n"
        "[Unit]\nDescription=tunepipe weekly\n\n[Timer]\n"
        "OnCalendar=*-*-01 03:00:00 Asia/Tokyo\nOnCalendar=Mon *-*-* 03:00:00 Asia/Tokyo\n"
        "Persistent=false\n\n[Install]\nWantedBy=timers.target\n",
    }
