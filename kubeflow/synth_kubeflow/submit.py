"""A pipeline on a cluster: compiled here, and handed to the server of Kubeflow Pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kfp
import kfp_server_api
import urllib3

from synth_components.errors import DataError


def submit(
    pipeline: Any,  # noqa: ANN401 - kfp has no types
    values: Mapping[str, Any],
    *,
    host: str,
    namespace: str = "",
    token: str = "",
    experiment: str = "",
) -> str:
    """Start a run of a pipeline, and return its id.

    Args:
        values: The pipeline's arguments; the table's address is one that the cluster can read.
        host: Address of the server; empty within a cluster.
        namespace: Of a server with several users; empty for none.
        token: Bearer token; empty takes what kfp finds itself.
        experiment: Name of the experiment, which is made if there is none; empty for kfp's own default.

    Raises:
        DataError: if the server does not answer, or refuses; the token is not shown.
    """
    try:
        client = kfp.Client(host=host or None, namespace=namespace or "kubeflow", existing_token=token or None)
        run = client.create_run_from_pipeline_func(
            pipeline, arguments=dict(values), experiment_name=experiment or None, namespace=namespace or None
        )
    except kfp_server_api.ApiException as error:
        raise DataError(
            f"the server of Kubeflow Pipelines refuses with status {error.status} ({error.reason}); check address, "
            "namespace, token and rights"
        ) from None
    except (
        urllib3.exceptions.HTTPError,
        TimeoutError,
    ) as error:  # kfp asks for health five times
        raise DataError(
            f"the server of Kubeflow Pipelines does not answer ({type(error).__name__}); check --host, and the token"
        ) from None
    return str(run.run_id)
