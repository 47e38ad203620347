# syntax=docker/dockerfile:1
# Four images out of one file: `service` without torch, `worker` with torch for the CPU, `worker-gpu` with CUDA's, and
# `serving`, which runs models for the service, on the CPU.
#   docker build --target service .

ARG PYTHON_VERSION=3.11
# Where pip finds torch's wheels without CUDA: its "cpu" index. Without it the worker gets the default build, which also
# runs on the CPU but brings CUDA's libraries along. pip takes a version with "+cpu" before the same without.
ARG TORCH_CPU_INDEX_URL=""

FROM python:${PYTHON_VERSION}-slim AS bare
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/distill/bin:$PATH
RUN useradd --create-home --uid 10001 distill \
 && install --directory --owner distill --group distill /data
WORKDIR /srv/distill

FROM bare AS build
RUN python -m venv /opt/distill
COPY pyproject.toml constraints.txt README.md ./

FROM build AS build-service
COPY core core
COPY migrations migrations
COPY service service
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt '.[service]'

FROM build AS build-worker
ARG TORCH_CPU_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install ${TORCH_CPU_INDEX_URL:+--extra-index-url "$TORCH_CPU_INDEX_URL"} --constraint constraints.txt torch==2.13.0
COPY core core
COPY migrations migrations
COPY worker worker
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt '.[worker,openvino]'

FROM build-worker AS build-serving
COPY serving serving
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt '.[worker,serving]'

FROM build AS build-worker-gpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt torch==2.13.0
COPY core core
COPY migrations migrations
COPY worker worker
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt '.[worker]'

FROM bare AS service
COPY --from=build-service /opt/distill /opt/distill
USER distill
ENV DISTILL_DATA=/data DISTILL_HOST=0.0.0.0 DISTILL_PORT=8000
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "service"]

FROM bare AS worker
COPY --from=build-worker /opt/distill /opt/distill
USER distill
ENV DISTILL_DATA=/data HF_HOME=/data/hub OMP_WAIT_POLICY=PASSIVE
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=4 CMD ["python", "-m", "worker.alive"]
CMD ["python", "-m", "worker"]

FROM bare AS worker-gpu
COPY --from=build-worker-gpu /opt/distill /opt/distill
USER distill
ENV DISTILL_DATA=/data HF_HOME=/data/hub OMP_WAIT_POLICY=PASSIVE NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=4 CMD ["python", "-m", "worker.alive"]
CMD ["python", "-m", "worker"]

FROM bare AS serving
COPY --from=build-serving /opt/distill /opt/distill
USER distill
ENV DISTILL_DATA=/data OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1
VOLUME /data
EXPOSE 8100
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8100/healthz', timeout=4)"]
CMD ["python", "-m", "serving", "--host", "0.0.0.0", "--port", "8100"]
