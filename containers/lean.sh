#!/bin/sh
# Take out of an image what no task runs, in the layer that installed it: run from core.Dockerfile and torch.Dockerfile.
# What stays: all that `synth`, `train` and `serve` promise, MLflow's client and its stores, Kubernetes' client, HDF5,
# SQL and S3; byte code, for a root that is read-only.  What goes:
#   - test suites of libraries, and the programs of torch that test it;
#   - headers, stubs, sources and static libraries: the image has no compiler;
#   - MLflow's pages for a browser, so `mlflow ui` belongs on another machine;
#   - Arrow's protocol between servers, Flight.
set -eu
cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
find . -type d \( -name tests -o -path ./mlflow/server/js -o -path ./pyarrow/include -o -path ./sqlalchemy/testing \
  -o -path ./torch/include -o -path ./torch/test \) -prune -exec rm -r {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.hpp' -o -name '*.c' \
  -o -name '*.cpp' -o -name '*.a' -o -name 'libarrow_flight.*' -o -name 'libarrow_python_flight.*' \
  -o -path './pyarrow/_flight.*' -o -path './torch/bin/*' ! -name torch_shm_manager \) -delete
# What is used still imports.
python -c 'import pyarrow.dataset, pyarrow.parquet, sklearn, matplotlib, sqlalchemy, mlflow, kubernetes.client, h5py, boto3'
[ ! -d torch ] || python -c 'import torch.distributed, torch.optim; torch.ones(2).share_memory_()'
