"""What the service is told when it starts, declared once."""

from __future__ import annotations

from pydantic import Field, model_validator

from synth_components.config import StepConfig


class ServeConfig(StepConfig):
    """Where the service listens, whom it answers, and how much it does at once."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for all of this machine.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one and tells it.")
    token_file: str = Field(
        "",
        description="File with the tokens that callers must bring, one a line, of at least 16 characters; several let "
        "one be replaced by the next. Also SYNTH_SERVE_TOKEN, which holds a token itself.",
    )
    allow_unnamed: bool = Field(
        False, description="Without a policy, take a report that does not name the model that it judged."
    )
    anonymous: bool = Field(
        False, description="Whether callers need no token although the service listens beyond this machine."
    )
    rate: float = Field(
        0.0,
        ge=0,
        description="Most requests per second of a token, or of an address without one; 0 for no limit.",
    )
    burst: int = Field(20, ge=1, lt=2**31, description="Requests that may come at once under rate.")
    max_rows: int = Field(100_000, ge=1, lt=2**53, description="Most rows of an answer that is made whole.")
    max_stream_rows: int = Field(
        10_000_000, ge=1, lt=2**53, description="Most rows of an answer that is sent while it is made, as NDJSON."
    )
    max_answer_bytes: int = Field(67_108_864, ge=1, lt=2**53, description="Largest answer made whole, in bytes.")
    max_request_bytes: int = Field(6_291_456, ge=1, lt=2**53, description="Largest body of a request, in bytes.")
    answer_seconds: float = Field(
        60.0, gt=0, description="Most time to make an answer whole; what would take longer is refused."
    )
    reader_seconds: float = Field(
        30.0, gt=0, description="How long a caller may send or take nothing before the connection is cut."
    )
    stop_seconds: float = Field(
        3.0, gt=0, description="How long requests may go on after SIGTERM; what is left then is cut."
    )
    concurrency: int = Field(2, ge=1, le=1_024, description="Requests that draw rows at the same time.")
    queue: int = Field(64, ge=0, lt=2**31, description="Requests that may wait beyond them; more are turned away.")
    seed: int = Field(
        -1,
        ge=-1,
        lt=2**53,
        description="Seed of requests that bring none, mixed with all that they ask for: equal requests get equal "
        "rows. -1 gives fresh rows.",
    )
    allow_rows: bool = Field(False, description="Whether to serve a model that keeps training rows.")
    trust: tuple[str, ...] = Field(
        (), description="Module paths of generators that may be imported although no installed package declares them."
    )

    @model_validator(mode="after")
    def _caps_in_order(self) -> ServeConfig:
        if self.max_stream_rows < self.max_rows:
            raise ValueError("max_stream_rows must be at least max_rows")
        return self
