"""The status page: over HTTP, and in a real browser with dead feeds, many feeds, long and hostile names."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import time
from contextlib import ExitStack

import numpy as np
import pytest
from daemon_test_plugins import TickingFeed
from headless_browser import Browser

from mdfeedd.daemon import config
from mdfeedd.daemon.page import fanouts_of, policy
from mdfeedd.daemon.supervisor import Limits, Supervisor
from mdfeedd.ring import Reader, Writer
from mdfeedd.ring.lines import LineKey, WriterLines
from mdfeedd.tick import BAR, QUOTE, TICK, TRADE, Kind, Side, to_fixed

HOSTILE = "<script>alert(1)</script>"
HOSTILE_IMG = "<img src=x onerror=alert(2)>"
LONG = "VERY LONG SYMBOL " * 4
P = TickingFeed.__module__


def plan_of(shm_dir, names=("f",), consumers=(), metrics=None, **options):
    feeds = [
        {"name": name, "vendor": f"{P}:TickingFeed", "capacity": 256, "options": options}
        for name in names
    ]
    return config.check(
        {
            "shm_dir": shm_dir,
            "metrics": {"port": 0, **(metrics or {})},
            "feeds": feeds,
            "consumers": list(consumers),
        }
    )


def request(supervisor, path="/", method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", supervisor.exporter.port, timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def supervised(plan, examine, limits=None):
    """Run the daemon, and `examine(supervisor)` in a thread beside it."""

    async def scenario():
        async with Supervisor(plan, limits=limits or Limits()) as supervisor:
            return await asyncio.to_thread(examine, supervisor)

    return asyncio.run(scenario())


def publish(writer, symbol, bid="6000.25", ask="6000.5"):
    """A quote and a trade of one more instrument."""
    one = writer.instruments.add(symbol)
    quote, trade = np.zeros(1, QUOTE), np.zeros(1, TRADE)
    quote["kind"], trade["kind"] = Kind.QUOTE, Kind.TRADE
    quote["instrument_id"] = trade["instrument_id"] = one
    quote["bid_price"], quote["ask_price"], trade["price"] = map(to_fixed, (bid, ask, ask))
    trade["side"] = Side.BUY
    trade["ts_event"] = quote["ts_event"] = 1_800_000_000_000_000_000
    writer.publish(np.concatenate([quote.view(TICK), trade.view(TICK)]))
    return one


def publish_bars(writer, symbol, n):
    one = writer.instruments.add(symbol)
    bars = np.zeros(n, BAR)
    bars["instrument_id"], bars["interval_s"] = one, 60
    bars["ts_open"] = 1_800_000_000_000_000_000 + np.arange(n) * 60_000_000_000
    bars["open"], bars["high"], bars["low"] = map(to_fixed, ("10", "12", "9"))
    bars["close"] = np.where(np.arange(n) % 2, to_fixed("11.5"), to_fixed("9.5"))
    bars["volume"] = 100
    writer.publish(bars)


# ---------------------------------------------------------------------------------------------- HTTP


def test_page_needs_nothing_from_elsewhere_and_forbids_it(shm_dir):
    answer, body = supervised(plan_of(shm_dir), request)
    html = body.decode()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|/status)""", html)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert "innerHTML" not in html
    told = answer.headers["Content-Security-Policy"]
    assert told == policy(html)
    assert "default-src 'none'" in told
    assert "unsafe" not in told
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_policy_is_of_the_script_as_it_stands():
    one, other = (policy(f"<style>a</style><script>{text}</script>") for text in "xy")
    assert one != other
    # of the shell: printf x | openssl dgst -sha256 -binary | base64
    assert "script-src 'sha256-LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE='" in one


def test_only_reading_is_allowed_and_head_has_no_body(shm_dir):
    def examine(supervisor):
        return [request(supervisor, path, m) for path in ("/", "/last") for m in ("POST", "HEAD")]

    (post, _), (head, body), (post_last, _), (_, last_body) = supervised(plan_of(shm_dir), examine)
    assert (post.status, post.headers["Allow"], post_last.status) == (405, "GET, HEAD", 405)
    assert (head.status, body, last_body) == (200, b"", b"")


def test_last_is_json_also_of_hostile_symbols(shm_dir):
    with Writer("mine", 256, directory=shm_dir) as writer:
        publish(writer, HOSTILE)
        publish(writer, '"},{"\n')
        answer, body = supervised(plan_of(shm_dir), lambda s: request(s, "/last"))
    assert answer.headers["Content-Type"] == "application/json"
    told = json.loads(body)
    assert told["fanouts"] == []
    symbols = {r["symbol"] for ring in told["rings"] for r in ring["records"]}
    assert {HOSTILE, '"},{"\n'} <= symbols


def test_no_prices_where_they_are_not_for_all_to_see(shm_dir):
    with Writer("mine", 256, directory=shm_dir) as writer:
        publish(writer, "ESZ6")
        plan = plan_of(shm_dir, metrics={"prices": False})
        _, body = supervised(plan, lambda s: request(s, "/last"))
    assert json.loads(body) == {"fanouts": [], "rings": []}


def test_reload_takes_prices_away_at_the_same_port(shm_dir):
    async def scenario():
        async with Supervisor(plan_of(shm_dir)) as supervisor:
            with Writer("mine", 256, directory=shm_dir) as writer:
                publish(writer, "ESZ6")
                port = supervisor.exporter.port
                _, before = await asyncio.to_thread(request, supervisor, "/last")
                supervisor.serve_metrics(plan_of(shm_dir, metrics={"prices": False}).metrics)
                _, after = await asyncio.to_thread(request, supervisor, "/last")
                assert supervisor.exporter.port == port
        return json.loads(before), json.loads(after)

    before, after = asyncio.run(scenario())
    assert {ring["ring"] for ring in before["rings"]} >= {"mine"}
    assert after["rings"] == []


def test_fanouts_are_told_where_they_can_be_reached(shm_dir):
    def fan(name, **options):
        return {"name": name, "type": "fanout", "rings": ["f"], "options": options}

    consumers = [fan("a"), fan("b", port=0), fan("c", port=9001, host="192.0.2.7")]
    assert fanouts_of(plan_of(shm_dir, consumers=consumers)) == [
        {"rings": ["f"], "port": 8765, "host": ""},
        {"rings": ["f"], "port": 9001, "host": "192.0.2.7"},
    ]


# ------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    made = Browser()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def silence(request):
    """A page that throws, or breaks its own policy, has a line in its console."""
    if "browser" not in request.fixturenames:
        yield
        return
    browser = request.getfixturevalue("browser")
    leave(browser)
    browser.logged.clear()
    yield
    browser.value("1")
    assert browser.logged == []


def leave(browser):
    """Go away from the page, which else goes on asking a daemon that is gone."""
    browser.open("about:blank")
    browser.until("location.href == 'about:blank'")


def browsed(plan, browser, examine):
    """As `supervised`; the page is left before the daemon stops."""

    def look(supervisor):
        examine(supervisor)
        leave(browser)

    supervised(plan, look)


def show(browser, supervisor, **how):
    browser.open(f"http://127.0.0.1:{supervisor.exporter.port}/", **how)
    browser.until(
        "document.querySelector('#feeds tbody') && document.querySelector('#prices tbody')"
    )


def text_of(browser, element):
    return browser.value(f"document.getElementById('{element}').innerText")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_page_shows_everything_at_any_width_light_and_dark(shm_dir, browser, width, dark, tmp_path):
    def examine(supervisor):
        with (
            Reader("f", "now", "outside", directory=shm_dir),
            Writer("mine", 256, directory=shm_dir) as writer,
            Writer("bars", 256, dtype=BAR, directory=shm_dir) as bars,
        ):
            publish_bars(bars, "ESZ6", 30)
            publish(writer, "NQZ6")
            show(browser, supervisor, width=width, dark=dark)
            browser.until(
                "/[0-9]/.test(document.querySelector('#feeds tbody tr').cells[2].innerText)"
            )
            browser.until("document.querySelector('#feeds svg polyline').getAttribute('points')")
            browser.until("document.getElementById('series').options.length == 1")
            assert "outside" in text_of(browser, "readers")
            browser.until("document.getElementById('prices').innerText.includes('NQZ6')")
            assert "6000.25" in text_of(browser, "prices")
            assert "running" in text_of(browser, "processes")
            assert browser.value("document.documentElement.scrollWidth") <= width
            drawn = (
                "new Set(new Uint32Array(document.getElementById('chart').getContext('2d')"
                ".getImageData(0, 0, document.getElementById('chart').width,"
                " document.getElementById('chart').height).data.buffer)).size > 5"
            )
            browser.until(drawn)
            back = browser.value("getComputedStyle(document.body).backgroundColor")
            shade = sum(map(int, re.findall(r"\d+", back)))
            assert (shade < 3 * 128) == dark
            hidden = browser.value("getComputedStyle(document.querySelector('th.wide')).display")
            assert (hidden == "none") == (width == 390)
            browser.screenshot(tmp_path / "page.png")
            assert (tmp_path / "page.png").stat().st_size > 10_000

    browsed(plan_of(shm_dir), browser, examine)


def test_lines_are_shown_where_there_are_some(shm_dir, browser):
    def examine(supervisor):
        show(browser, supervisor)
        assert browser.value("document.getElementById('of-lines').hidden")
        with Writer("cme", 256, directory=shm_dir) as writer:
            keys = [LineKey(310, "incremental", side) for side in "AB"]
            lines = WriterLines(writer, [*keys, LineKey(310, "snapshot", "A")])
            now_ns = time.monotonic_ns()
            lines.set(keys[0], {"received_packets": 7, "last_packet_ns": now_ns})
            lines.set(keys[1], {"lost_packets": 5, "last_packet_ns": now_ns - 40 * 10**9})
            browser.until("document.querySelectorAll('#lines tbody tr').length == 2")
            assert not browser.value("document.getElementById('of-lines').hidden")
            text = text_of(browser, "lines")
            assert "310 A" in text
            assert "310 B" in text
            browser.until(
                "document.getElementById('troubles').innerText.includes('310 incremental B')"
            )
            bad = (
                "[...document.querySelectorAll('#lines td.name.bad')].map(c => c.innerText).join()"
            )
            assert browser.value(bad) == "310 B"

    browsed(plan_of(shm_dir), browser, examine)


def test_hostile_and_long_names_are_text(shm_dir, browser):
    def examine(supervisor):
        with (
            Writer("mine", 256, directory=shm_dir) as writer,
            Writer("bars", 256, dtype=BAR, directory=shm_dir) as bars,
            Reader("mine", "now", HOSTILE_IMG, directory=shm_dir),
        ):
            for symbol in (HOSTILE, HOSTILE_IMG, LONG):
                publish(writer, symbol)
            publish_bars(bars, HOSTILE, 3)
            show(browser, supervisor, width=390)
            browser.until(f"document.getElementById('prices').innerText.includes({HOSTILE!r})")
            browser.until(f"document.getElementById('readers').innerText.includes({HOSTILE_IMG!r})")
            browser.until("document.getElementById('series').options.length == 1")
            assert HOSTILE in browser.value("document.getElementById('series').innerText")
            assert browser.value("document.querySelectorAll('main script, main img').length") == 0
            assert browser.value("document.documentElement.scrollWidth") <= 390

    browsed(plan_of(shm_dir), browser, examine)


def test_script_that_got_in_would_not_run(shm_dir, browser):
    def examine(supervisor):
        show(browser, supervisor)
        browser.value(
            "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            " document.body.append(s); })()"
        )
        browser.until("!window.ran")
        assert any("Content Security Policy" in line for line in browser.logged)
        browser.logged.clear()

    browsed(plan_of(shm_dir), browser, examine)


def test_dead_feed_is_told_in_words(shm_dir, browser):
    def examine(supervisor):
        show(browser, supervisor)
        browser.until("document.getElementById('state').classList.contains('bad')")
        browser.until(
            "document.getElementById('troubles').innerText.includes('feed f was given up')"
        )
        assert "given up" in text_of(browser, "troubles")
        assert browser.value("document.title") != "mdfeedd"

    browsed(plan_of(shm_dir, exit_status=78), browser, examine)


def test_token_is_taken_from_the_address(shm_dir, browser, tmp_path):
    (tmp_path / "token").write_text("sesame")

    def examine(supervisor):
        page = f"http://127.0.0.1:{supervisor.exporter.port}/"
        state = "(document.getElementById('state')?.innerText ?? '')"
        browser.open(page)
        browser.until(f"{state}.includes('a token is needed')")
        leave(browser)
        assert [line for line in browser.logged if "401" not in line and "token" not in line] == []
        browser.logged.clear()
        browser.open(f"{page}#token=sesame")
        browser.until("document.querySelector('#feeds tbody')")
        assert "token" not in browser.value(state)

    plan = plan_of(shm_dir, metrics={"token": {"file": str(tmp_path / "token")}})
    browsed(plan, browser, examine)


def test_no_data_at_all(shm_dir, browser):
    def examine(supervisor):
        show(browser, supervisor)
        assert text_of(browser, "readers").endswith("none")
        assert browser.value("document.getElementById('series').options.length") == 0

    browsed(plan_of(shm_dir), browser, examine)


def test_fifty_feeds(shm_dir, browser):
    def examine(supervisor):
        with ExitStack() as stack:
            for i in range(50):
                writer = stack.enter_context(Writer(f"other{i}", 64, directory=shm_dir))
                publish(writer, f"SYM{i}")
            show(browser, supervisor, width=390)
            browser.until("document.querySelectorAll('#feeds tbody tr').length == 51")
            browser.until("document.querySelectorAll('#prices tbody tr').length == 50")
            assert browser.value("document.documentElement.scrollWidth") <= 390
            assert browser.value("document.querySelector('.scroll').clientHeight") <= 460

    browsed(plan_of(shm_dir), browser, examine)


def test_daemon_that_is_gone_is_said_and_found_again(shm_dir, browser):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    plan = config.check(
        {
            "shm_dir": shm_dir,
            "metrics": {"port": port},
            "feeds": [{"name": "f", "vendor": f"{P}:TickingFeed", "capacity": 256}],
        }
    )
    supervised(plan, lambda supervisor: show(browser, supervisor))
    browser.until("document.getElementById('state').innerText == 'the daemon does not answer'")
    supervised(
        plan, lambda _: browser.until("document.getElementById('state').innerText == 'all is well'")
    )
    browser.logged.clear()  # what could not be had is in the console, as it should be


def test_chart_is_live_over_the_websocket_of_the_fanout(shm_dir, browser):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    plan = config.check(
        {
            "shm_dir": shm_dir,
            "metrics": {"port": 0},
            "feeds": [
                {
                    "name": "sim",
                    "vendor": "synthetic",
                    "options": {"rate": 1000, "instruments": ["ESZ6"]},
                }
            ],
            "consumers": [
                {
                    "name": "bars",
                    "type": "bars",
                    "rings": ["sim"],
                    "options": {"ring": "sim-bars", "intervals_s": [1]},
                },
                {
                    "name": "fan",
                    "type": "fanout",
                    "rings": ["sim", "sim-bars"],
                    "options": {"port": port},
                },
            ],
        }
    )

    def examine(supervisor):
        show(browser, supervisor)
        browser.until("document.getElementById('live').innerText == 'live'")
        browser.until("[...series.values()].some(one => one.forming)")
        browser.until("[...series.values()].some(one => one.bars.size >= 2)")
        browser.logged.clear()  # a first connection may have come before the fan-out listened

    browsed(plan, browser, examine)
