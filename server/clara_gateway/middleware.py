"""Around every request: its exchange, errors in OpenAI's shape, the access log line and the metrics. Used by `app.py`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from clara_gateway.exchange import Exchange, open_exchange
from clara_gateway.logs import ACCESS
from clara_gateway.metrics import Metrics
from clara_gateway.refusals import RefusalError
from clara_gateway.rename import token_counts
from clara_gateway.upstream import ClientGoneError

log = logging.getLogger(__name__)
access_log = logging.getLogger(ACCESS)
_as_json = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps with an option makes an encoder per call

EXCHANGE = web.RequestKey("exchange", Exchange)
CLIENT_GONE = 499  # nginx' code for a client that did not wait

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def remember_exchanges(metrics: Metrics) -> Middleware:
    """The middleware, recording into these metrics."""

    @web.middleware
    async def remember(request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = request[EXCHANGE] = open_exchange(request)
        try:
            answer = await answer_or_refusal(request, exchange, handler)
            exchange.status = answer.status
            if not answer.prepared:
                answer.headers.update(exchange.headers())
            return answer
        except ClientGoneError:
            exchange.status = CLIENT_GONE
            return web.Response(status=CLIENT_GONE)  # for nobody: the connection is closed
        except asyncio.CancelledError:
            exchange.status = CLIENT_GONE
            raise
        finally:
            record(exchange, metrics)

    return remember


async def answer_or_refusal(request: web.Request, exchange: Exchange, handler: Handler) -> web.StreamResponse:
    """The handler's answer, or the error it raised as an answer."""
    try:
        return await handler(request)
    except RefusalError as refusal:
        return refused(exchange, refusal)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path} takes {allowed}, not {request.method}."
        return refused(exchange, RefusalError(405, "method_not_allowed", message, allow=allowed))
    except web.HTTPNotFound:
        return refused(exchange, RefusalError(404, "unknown_path", f"{request.path} is not served here."))
    except (ClientGoneError, web.HTTPException):
        raise
    except Exception:
        log.exception("request %s failed inside the gateway", exchange.request_id)
        return refused(exchange, RefusalError(500, "gateway_error", "The gateway failed; its log has the cause."))


def refused(exchange: Exchange, refusal: RefusalError) -> web.Response:
    """An error as the answer."""
    exchange.code = refusal.code
    return refusal.response()


def record(exchange: Exchange, metrics: Metrics) -> None:
    """One line and one count per request; health questions are not worth either."""
    if exchange.path in ("/health", "/ready"):
        return
    tokens = token_counts(exchange.usage)
    metrics.record(exchange, tokens)
    access_log.info(_as_json(exchange.log_line(tokens)))
