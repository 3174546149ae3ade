"""`huiyi serve`: models behind OpenAI's protocol."""

import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from huiyi.cli import options
from huiyi.cli.printing import note

if TYPE_CHECKING:
    from huiyi.server.auth import Keys
    from huiyi.serving import Served

EXAMPLES = """
  curl {url}/v1/embeddings -H 'Content-Type: application/json'{curl_key} \\
    -d '{{"model": "{model}", "input": "Where is my parcel?"}}'

  # Python: pip install openai
  {python_import}from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key={python_key})
  vector = client.embeddings.create(model="{model}", input="Where is my parcel?").data[0].embedding

  // JavaScript
  const answer = await fetch("{url}/v1/embeddings", {{
    method: "POST",
    headers: {{"Content-Type": "application/json"{js_key}}},
    body: JSON.stringify({{model: "{model}", input: "Where is my parcel?"}}),
  }});
  const vector = (await answer.json()).data[0].embedding;
"""
RERANK_EXAMPLE = """
  curl {url}/v1/rerank -H 'Content-Type: application/json'{curl_key} \\
    -d '{{"model": "{model}", "query": "Where is my parcel?", "documents": ["Track it with its number.", "We are hiring."]}}'
"""


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", "--model-path", metavar="NAME", help="Name or folder; again for more. [default: HUIYI_MODEL]"),
    ] = None,
    served_model_name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name that clients use, one a model, in their order. [default: the name, a folder's last part]"),
    ] = None,
    rerank_model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Reranker for /v1/rerank, by name or folder; again for more. [default: none, cosines answer]"),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Adapter of a model, served under NAME beside it; again for more."),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Server that has the model, such as http://gpu1:30000; again for more. --model then names its tokenizer, "
            "or none. [default: this process]",
        ),
    ] = None,
    upstream_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model's name at the upstreams. [default: the one they list]")
    ] = None,
    upstream_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="HUIYI_UPSTREAM_KEY_FILE",
            show_envvar=False,
            help="Keys of the upstreams, a line each: KEY for all, or URL KEY. [default: HUIYI_UPSTREAM_KEY]",
        ),
    ] = None,
    upstream_requests: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Most requests on the way to an upstream.")] = 16,
    upstream_timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest time for an upstream's answer.")] = 60,
    engine: Annotated[
        Literal["sglang", "vllm"] | None,
        typer.Option(
            help="Start this server with the model, watch it, and stand in front of it. [default: the CPU engine of this process]"
        ),
    ] = None,
    engine_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="One more word for its command line, such as --engine-arg=--tp=2; again for more."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than this machine can reach 0.0.0.0; a key is then asked for.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 30000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keys, one a line: KEY or admin:KEY may do everything, read:KEY embeds. [default: HUIYI_API_KEY]"
        ),
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Ask for no key, whoever can reach this.")] = False,
    open_metrics: Annotated[bool, typer.Option("--open-metrics", help="/metrics without a key.")] = False,
    allowed_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Name under which clients may call, beside loopback ones; * for any.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Web page that may call, such as https://shop.example; * for any.")
    ] = None,
    max_body_mb: Annotated[int, typer.Option(min=1, metavar="N", help="Largest body.")] = 16,
    max_inputs: Annotated[int, typer.Option(min=1, metavar="N", help="Most texts in a request.")] = 16_384,
    max_request_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Most tokens in a request.")] = 300_000,
    max_requests: Annotated[int, typer.Option(min=1, metavar="N", help="Most requests at once.")] = 512,
    max_wait: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest time for a request to be done.")] = 600,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Keep no vectors of texts seen before.")] = False,
    llm: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Chat server in OpenAI's protocol that writes replies from what answers a question of a client; its key is HUIYI_LLM_KEY.",
        ),
    ] = None,
    llm_model: Annotated[str | None, typer.Option(metavar="NAME", help="Model that --llm is asked for.")] = None,
    precision: options.Precision = "auto",
    threads: options.Threads = None,
    device: options.Device = None,
    max_tokens: options.MaxTokens = None,
    offline: options.Offline = False,
    log_requests: Annotated[bool, typer.Option("--log-requests", help="A line for every request, not only for failed ones.")] = False,
    no_console: Annotated[
        bool, typer.Option("--no-console", help="Leave the console in the browser out, and serve the API alone.")
    ] = False,
    is_embedding: Annotated[bool, typer.Option("--is-embedding", help="Taken for sglang's sake; these models are.")] = False,
) -> None:
    """Serve models over HTTP in OpenAI's protocol: embeddings, similarity, rerank; documentation at /docs, the console at /."""
    from huiyi import console, workspace
    from huiyi.server import auth, connections
    from huiyi.server.app import Limits, ServerSettings, create_app
    from huiyi.server.guard import Admission

    if bool(llm) != bool(llm_model):
        raise typer.BadParameter("--llm and --llm-model go together")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("huiyi").setLevel(logging.INFO)
    loopback = auth.is_loopback(host)
    keys = auth.keys(api_key_file, host, no_auth)
    names = frozenset(name.lower() for name in allowed_host or ())
    settings = ServerSettings(
        Admission(keys, names if names or loopback else None, frozenset(cors_origin or ())),
        Limits(max_body_mb * 2**20, max_inputs, max_requests, max_wait),
        open_metrics,
        log_requests,
        workspace.writer(llm, llm_model) if llm and llm_model else None,
    )
    upstreams = None
    if upstream:
        upstreams = workspace.Upstreams(tuple(upstream), upstream_model, upstream_key_file, upstream_requests, upstream_timeout)
        if upstream_key_file:
            os.environ["HUIYI_UPSTREAM_KEY_FILE"] = str(upstream_key_file.resolve())  # for processes of ours that do jobs
    bound = connections.bound(host, port)
    models = workspace.serve(
        model or (),
        precision,
        threads,
        served_names=served_model_name or (),
        cache=not no_cache,
        max_tokens=max_tokens,
        max_request_tokens=max_request_tokens,
        offline=offline,
        adapters=adapter or (),
        rerankers=rerank_model or (),
        upstreams=upstreams,
        engine=engine,
        engine_arguments=engine_arg or (),
        device=device,
        say=note,
    )
    port = bound.getsockname()[1]
    furnish = console.furnish if console.available() and not no_console else None
    app = create_app(models, settings, furnish)
    announce = partial(_announce, models, host, port, keys, loopback, furnish is not None)
    connections.server(app, announce, sockets=furnish is not None).run([bound])


def _announce(models: "list[Served]", host: str, port: int, keys: "Keys | None", loopback: bool, console: bool) -> None:
    """What is served and how to call it; never the key itself."""
    name = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    url = f"http://{name}:{port}"
    for model in models:
        also = f" (also {', '.join(model.aliases)})" if model.aliases else ""
        vectors = f"{model.dim} numbers a vector"
        what = "scores for /v1/rerank" if model.is_reranker else "probabilities of pairs" if model.is_classifier else vectors
        beside = f", an adapter of {model.base}" if model.base else ""
        typer.echo(f"{model.name}{also}: {what}, up to {model.max_tokens:,} tokens{beside}")
    typer.echo(
        (RERANK_EXAMPLE if models[0].is_reranker else EXAMPLES).format(
            url=url,
            model=models[0].name,
            curl_key=' -H "Authorization: Bearer $HUIYI_API_KEY"' if keys else "",
            python_import="import os\n  " if keys else "",
            python_key='os.environ["HUIYI_API_KEY"]' if keys else '"none"',
            js_key=', "Authorization": `Bearer ${process.env.HUIYI_API_KEY}`' if keys else "",
        )
    )
    if keys:
        typer.echo(f"the API key is {keys.source}")
    elif not loopback:
        typer.echo("no API key is asked for: whoever can reach this port may use it")
    typer.echo(f"console: {url}" if console else "no console: pip install 'huiyi[console]' brings it, --no-console leaves it out")
    typer.echo(f"documentation: {url}/docs")
    typer.echo(f"ready: {url}/v1")
    sys.stdout.flush()
