# The worker as an image: built with a compiler's worth of tools nearby, run without them and without root.
# The Python and the constraints are those that the tests ran with.
ARG PYTHON=3.11.13-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/stream
WORKDIR /src
# Dependencies first: they change less often than the program, so this layer is kept.
COPY pyproject.toml constraints.txt README.md ./
RUN mkdir stream && touch stream/__init__.py && /opt/stream/bin/pip install -c constraints.txt .
COPY stream stream
RUN /opt/stream/bin/pip install --no-deps --force-reinstall .

FROM python:${PYTHON}
ENV PATH=/opt/stream/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/stream --shell /usr/sbin/nologin stream \
    && install -d -o stream -g stream -m 0750 /var/lib/stream
COPY --from=build /opt/stream /opt/stream
COPY --chmod=0755 deploy/entrypoint.sh /usr/local/bin/stream-entrypoint
USER 10001:10001
WORKDIR /var/lib/stream
EXPOSE 6066
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6066/healthz', timeout=4)"]
ENTRYPOINT ["stream-entrypoint"]
CMD ["run", "-c", "/etc/stream/stream.yaml", "--log-format", "json"]
