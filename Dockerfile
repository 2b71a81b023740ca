# One image for every service: `docker run … ingress`, `… worker`, `… run`, `… demo`.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/qudao
WORKDIR /src
COPY requirements.txt ./
# From the lock alone, as the Makefile does.
RUN /opt/qudao/bin/pip install --no-deps --require-hashes --only-binary :all: --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY ingress ingress
COPY workers workers
COPY simulator simulator
COPY cli cli
RUN /opt/qudao/bin/pip install --no-deps --no-build-isolation --no-index . \
    && /opt/qudao/bin/pip check \
    && /opt/qudao/bin/pip uninstall --yes setuptools pip

FROM python:3.11-slim-bookworm
# The font draws the Chinese names under QR codes and in charts.
RUN apt-get update && apt-get install --yes --no-install-recommends fonts-wqy-microhei && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin qudao \
    && install --directory --owner=qudao --group=qudao /app /app/var
COPY --from=build /opt/qudao /opt/qudao
ENV PATH=/opt/qudao/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    QUDAO_LISTEN=0.0.0.0:8080 \
    QUDAO_ADMIN_LISTEN=0.0.0.0:9090 \
    QUDAO_LOG_FORMAT=json
WORKDIR /app
USER qudao
# The spool and the embedded queue live here: without a volume they are gone with the container.
VOLUME /app/var
# 8080 takes callbacks; 9090 shows health and metrics and is not for the world.
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9090/healthz', timeout=2)"]
ENTRYPOINT ["qudao"]
CMD ["run"]
