"""Rule F3: what is said of a failure, and what that means."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.attempt import Cause, Outcome
from heartbeat.rules.failures import LONGEST_MESSAGE, REASONS, read_failure, retry_after

COUNTS, COOLS, REFUSES, TASK, ENGINE, NONE = (
    Cause.COUNTS,
    Cause.COOLS,
    Cause.REFUSES,
    Cause.TASK,
    Cause.ENGINE,
    Cause.NONE,
)

SAID: dict[str, Cause] = {
    # One model, as `agent.wait`, a final frame, `tasks.list` and the transcript tell it (contract 6.3).
    "Authentication failed (provider returned HTTP 401). Your provider token may have expired — try the request again "
    "in a moment. If the failure persists, re-authenticate this provider.": REFUSES,
    "⚠️ LLM request failed (authentication failed, HTTP 401). Re-authenticate the provider and try again.": REFUSES,
    "401 Incorrect API key provided": REFUSES,
    "402 Insufficient credits": REFUSES,
    "403 Forbidden": REFUSES,
    "⚠️ fakea (m) returned a billing error — your API key has run out of credits or has an insufficient balance. Check "
    "your fakea billing dashboard and top up or switch to a different API key.": REFUSES,
    "Couldn't sign in to fakea. Your saved login looks expired or no longer works. `openclaw configure`.": REFUSES,
    "Couldn’t sign in to fakea. Your saved login looks expired or no longer works.": REFUSES,
    'Inline API key for provider "fakea" is temporarily disabled after a provider auth/billing failure. Retry after '
    "about 1 minute, or switch to a different auth profile/API key.": REFUSES,
    "The selected model was not found by the provider. Check the model id or choose a different model.": REFUSES,
    "⚠️ LLM request failed (model not found, HTTP 404).": REFUSES,
    "⚠️ The configured model is unavailable from the provider — it may have been renamed, retired, or is not offered on "
    "this…": REFUSES,
    "Unknown model: nope/zz. Run `openclaw models list --refresh --provider nope` to inspect this provider's model "
    "choices, then retry with a model supported by your account.": REFUSES,
    'Unknown provider "nope". Use /models to list providers.': REFUSES,
    "model not allowed: pok2/m": REFUSES,
    'Model override "pok2/m" is not allowed for agent "coo" by agents.defaults.models. Add "pok2/m" or "pok2/*" to '
    "agents.defaults.modelPolicy.allow, or remove/empty the list to allow any model.": REFUSES,
    "LLM request failed: provider rejected the request schema or tool payload.": TASK,
    "⚠️ LLM request failed (request format rejected, HTTP 400).": TASK,
    "400 Invalid request": TASK,
    "Context overflow: prompt too large for the model. Try /reset (or /new) to start a fresh session, or use a "
    "larger-context model.": TASK,
    "This model's maximum context length is 128000 tokens.": TASK,
    "LLM request rejected: configured maxTokens is 9, above the provider maximum of 8. Lower maxTokens and try "
    "again.": TASK,
    "⚠️ Rate limit reached for requests; Retry-After: 2 seconds": COOLS,
    "429 Rate limit reached for requests; Retry-After: 2 seconds": COOLS,
    "⚠️ The model provider returned HTTP 429 before replying. This can mean rate limiting, exhausted quota, or an "
    "account balance/billing issue. Check the selected provider/model, API key, and provider billing/quota dashboard, "
    "then try again.": COOLS,
    "⚠️ All attempted models were rate-limited or overloaded. Please try again in a few minutes.": COOLS,
    "Error code: 429 - {'error': {'message': 'Too many requests'}}": COOLS,
    "⚠️ p500/m request failed (provider internal error, HTTP 500). This is usually temporary — try again "
    "shortly.": COUNTS,
    "500 The server had an error": COUNTS,
    "502 Bad Gateway": COUNTS,
    "504 Gateway Timeout": COUNTS,
    "status code: 529": COUNTS,
    "408 Request Timeout": COUNTS,
    "The AI service is temporarily overloaded. Please try again in a moment.": COUNTS,
    "LLM request failed: network connection error.": COUNTS,
    "LLM request failed: connection refused by the provider endpoint.": COUNTS,
    "connect ECONNREFUSED 127.0.0.1:19101": COUNTS,
    "LLM request failed: TLS certificate validation rejected the provider endpoint. Check the endpoint hostname, "
    "proxy, and local certificate trust.": COUNTS,
    "The provider returned an HTML error page instead of an API response. This usually means a CDN or gateway (e.g. "
    "Cloudflare) blocked the request. Retry in a moment or check provider status.": COUNTS,
    "⚠️ Agent couldn't generate a response. Please try again.": COUNTS,
    "LLM streaming response contained a malformed fragment. Please try again.": COUNTS,
    "Authentication refresh timed out before the provider completed. Retry in a moment; re-authenticate only if it "
    "keeps failing.": COUNTS,
    "LLM request failed.": COUNTS,
    "⚠️ Agent run failed (model: pok/m).": COUNTS,
    "LLM idle timeout (60s): no response from model": COUNTS,
    "完全不知道发生了什么": COUNTS,
    "400 MB of memory were not enough": COUNTS,
    "": COUNTS,
    # OpenClaw itself.
    "Gateway not reachable at ws://127.0.0.1:18990 (ECONNREFUSED).\nStart it with `openclaw gateway run` or check "
    "`openclaw gateway status`.": ENGINE,
    "Gateway agent call connection closed; the Gateway may still be running this turn.": ENGINE,
    "Gateway is draining; new tasks are not accepted": ENGINE,
    "Task execution process exited before restart.": ENGINE,
    "provider/model overrides are not authorized for this caller.": ENGINE,
    "missing scope: operator.write": ENGINE,
    "Session patch failed unexpectedly. Retry the request.": ENGINE,
    "unauthorized": ENGINE,
    'invalid agent params: unknown agent id "ghost"': TASK,
    "invalid agent params: at /idempotencyKey: must not have fewer than 1 characters": TASK,
    'Unknown agent id "nosuch". Use "openclaw agents list" to see configured agents.': TASK,
    "Multiple agents are configured, but session agent resolution has no explicit owner. The agent-scoped session key "
    'belongs to "architect", not "coo".': TASK,
    "Session history or replay state is invalid. Use /new to start a fresh session and try again.": TASK,
    "Cancelled by operator.": NONE,
    "aborted": NONE,
    "This operation was aborted | 20": NONE,
}


@pytest.mark.parametrize("text", SAID, ids=lambda text: text[:50])
def test_F3_what_is_said_is_understood(text: str) -> None:
    assert read_failure(text).cause is SAID[text]


def all_failed(*models: str, summary: str = "the last one failed") -> str:
    listed = " | ".join(f"fake{number}/m: {said}" for number, said in enumerate(models))
    return f"All models failed ({len(models)}): {listed} | {summary}"


LIMITED = "429 Rate limit reached for requests; Retry-After: 2 seconds (rate_limit)"
BROKEN = "500 The server had an error (server_error)"
REJECTED = "400 Invalid request (format)"
UNPAID = "402 Insufficient credits (billing)"
LOCKED = (
    "Couldn't sign in to fakea. Your saved login looks expired or no longer works. `openclaw configure`. (Inline API "
    'key for provider "fakea" is temporarily disabled after a provider auth/billing failure. Retry after about 1 '
    "minute, or switch to a different auth profile/API key.) (auth)"
)


@pytest.mark.parametrize(
    ("models", "cause"),
    [
        ((REJECTED, REJECTED), TASK),
        ((REJECTED, BROKEN), COUNTS),
        ((REJECTED, LIMITED), COUNTS),
        ((LIMITED, LIMITED), COOLS),
        ((LIMITED, BROKEN), COUNTS),
        ((LOCKED, UNPAID), REFUSES),
        ((LOCKED, LIMITED), COUNTS),
        ((BROKEN, BROKEN), COUNTS),
        ((REJECTED, "404 The model does not exist (model_not_found)"), COUNTS),
        ((LIMITED, LIMITED, LIMITED, REJECTED), COUNTS),
        (("the reply was empty (format)", "the reply was empty (format)"), COUNTS),
        (("⚠️ Agent couldn't generate a response. Please try again. (format)",), COUNTS),
        (("413 payload too large (format)", REJECTED), TASK),
        (("You exceeded your current quota (unknown)", UNPAID), REFUSES),
        (("429 You exceeded your current quota (billing)", UNPAID), REFUSES),
        (("Gateway is draining (server_error)", "unauthorized (server_error)"), COUNTS),
        (("something | with pipes (rate_limit)", LIMITED), COOLS),
    ],
)
def test_F3_several_models_are_of_one_kind_only_where_all_say_so(models: tuple[str, ...], cause: Cause) -> None:
    for summary in ("LLM request failed: provider rejected the request schema or tool payload.", "⚠️ Rate limit", ""):
        assert read_failure(all_failed(*models, summary=summary)).cause is cause
        printed = f"[openclaw] The CLI command failed.\n[openclaw] Reason: {all_failed(*models, summary=summary)}"
        assert read_failure(f"{printed}\n[openclaw] Try: openclaw doctor\n").cause is cause


def test_F3_a_list_that_was_cut_off_says_nothing_of_the_models_that_are_missing() -> None:
    whole = all_failed(LIMITED, LIMITED)
    assert read_failure(whole[: whole.index("fake1") + 9]).cause is COUNTS
    assert read_failure(whole[: whole.index("fake1") - 2]).cause is COUNTS
    cut = "All models failed (2): fakea/m: 500 The server had an error (server_error) | fakeb/m: 500 The server (serv…"
    assert (read_failure(cut).cause, read_failure(cut).code) == (COUNTS, 500)


def test_F3_what_the_command_prints_after_the_list_belongs_to_no_model() -> None:
    told = all_failed(UNPAID, "the purse is empty (billing)", summary="").removesuffix(" | ")
    printed = f"[openclaw] Reason: {told}\n[openclaw] Debug: set OPENCLAW_DEBUG=1 to include the stack trace.\n"
    assert read_failure(printed).cause is REFUSES


def test_a_model_whose_name_has_slashes_and_colons_is_one_model() -> None:
    text = f"All models failed (2): openrouter/meta/llama-3:free: {LIMITED} | fakeb/m: {LIMITED}"
    assert read_failure(text).cause is COOLS


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (400, TASK),
        (401, REFUSES),
        (402, REFUSES),
        (403, REFUSES),
        (404, REFUSES),
        (429, COOLS),
        (500, COUNTS),
        (503, COUNTS),
    ],
)
def test_F3_a_status_that_is_told_apart_goes_before_the_words(code: int, cause: Cause) -> None:
    for words in ("Rate limit reached", "Gateway is draining", "unauthorized", "what?", ""):
        failure = read_failure(words, code=code)
        assert (failure.cause, failure.code) == (cause, code)


def test_F3_a_status_in_the_text_says_that_a_provider_spoke_and_not_the_gateway() -> None:
    failure = read_failure("HTTP 401: gateway authentication is wrong at the proxy of the provider")
    assert (failure.cause, failure.code) == (REFUSES, 401)
    assert read_failure("gateway authentication is wrong").cause is ENGINE


def test_an_exit_code_is_no_status() -> None:
    assert read_failure("429 slow down", code=1) == read_failure("429 slow down")


def test_F3_a_time_out_counts_whatever_else_is_said_but_a_rate_limit_does_not() -> None:
    for text in ("", "aborted", "Gateway is draining", "400 Invalid request", "401 no"):
        failure = read_failure(text, timed_out=True)
        assert (failure.cause, failure.outcome) == (COUNTS, Outcome.TIMED_OUT)
    failure = read_failure("⚠️ Rate limit reached for requests; Retry-After: 2 seconds", timed_out=True)
    assert (failure.cause, failure.outcome) == (COOLS, Outcome.RATE_LIMITED)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Request timed out before a response was generated. Please try again, or increase…", Outcome.TIMED_OUT),
        ("LLM request timed out.", Outcome.TIMED_OUT),
        ("429 slow down", Outcome.RATE_LIMITED),
        ("Cancelled by operator.", Outcome.ABORTED),
        ("500 no", Outcome.FAILED),
        ("400 no", Outcome.FAILED),
        ("Gateway is draining; new tasks are not accepted", Outcome.FAILED),
    ],
)
def test_every_failure_has_its_outcome(text: str, outcome: Outcome) -> None:
    assert read_failure(text).outcome is outcome


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Retry-After: 2 seconds", 2),
        ("retry-after: 120", 120),
        ('{"retry_after": 3}', 3),
        ("Please try again in 1.242s.", 1.242),
        ("Please try again in 20ms.", 0.02),
        ("Please try again in 6m12s.", 372),
        ("try again in 1h30m", 5400),
        ("Retry after about 1 minute, or switch", 60),
        ("retry after about 3 minutes", 180),
        ("Retry-After: 2 hours", 7200),
        ("Retry-After: 999999999 days", 604800),
        ("Please try again in a moment", None),
        ("Provider temporarily unavailable. Retrying in 2s (2/8).", None),
        ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("Retry-After: -5", None),
        ("", None),
    ],
)
def test_F1_the_wait_that_is_asked_for_is_read(text: str, seconds: float | None) -> None:
    assert retry_after(text) == (None if seconds is None else pytest.approx(seconds))


def test_F1_of_several_models_the_shortest_wait_is_the_one_to_keep() -> None:
    text = all_failed("429 no; Retry-After: 90 seconds (rate_limit)", LIMITED)
    assert read_failure(text).retry_after == 2


def test_what_looks_like_a_secret_is_left_out() -> None:
    text = (
        "401 Incorrect API key provided: sk-proj-Abcdefghijklmnop. at https://x.test/v1?key=AIzaSyA0123456789&b=1 "
        'Authorization: Bearer abcdef123456 {"token": "hush-hush-1"} password=open-sesame'
    )
    message = read_failure(text).message
    for secret in ("Abcdefghijklmnop", "AIza", "abcdef123456", "hush-hush", "open-sesame"):
        assert secret not in message
    assert "Incorrect API key provided" in message
    assert "b=1" in message


def test_an_ordinary_complaint_is_told_as_it_is() -> None:
    for text in SAID:
        if text:
            assert read_failure(text).message == " ".join(text.split())
    assert read_failure("").message == "no reason was given"
    assert read_failure("\x00 \n", timed_out=True).message == "it did not end in time"


def test_a_message_is_one_line_without_control_characters_and_short() -> None:
    message = read_failure("bad\x1b[31m\u202e\n\nthings\t" + "x" * 5000).message
    assert message.startswith("bad[31m things xxx")
    assert len(message) == LONGEST_MESSAGE


def test_every_reason_that_openclaw_has_is_known() -> None:
    words = (
        "auth auth_permanent format rate_limit overloaded billing server_error timeout tls_certificate "
        "context_overflow model_not_found session_expired empty_response no_error_details unclassified unknown"
    )
    assert set(REASONS) == set(words.split())


@given(st.text(max_size=300), st.none() | st.integers(-5, 999), st.booleans())
def test_any_text_is_some_failure(text: str, code: int | None, timed_out: bool) -> None:
    failure = read_failure(text, code=code, timed_out=timed_out)
    assert failure.message
    assert failure.message.isprintable() or "\n" not in failure.message
    assert failure.outcome is not Outcome.COMPLETED
    assert failure.retry_after is None or failure.retry_after >= 0


@pytest.mark.parametrize(
    "text",
    [
        "All models failed (99): " + "a/b: x | " * 200_000,
        "All models failed (2): " + "/" * 1_000_000 + " | " + "a/" * 500_000,
        "retry after " + "1" * 1_000_000,
        "try again in " + "1h" * 500_000,
        "model " * 300_000,
        "sk-" * 300_000 + "?key=" * 100_000,
        "(auth" * 300_000,
    ],
)
def test_a_flood_is_read_in_no_time(text: str) -> None:
    began = time.process_time()
    read_failure(text)
    assert time.process_time() - began < 2
