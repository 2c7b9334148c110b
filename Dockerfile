# posologist serve: API, hooks and page. Build: docker build -t posologist .
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY src src
RUN python -m venv /opt/posologist \
 && /opt/posologist/bin/pip install --no-cache-dir --constraint constraints.txt '.[postgresql]'

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /data posologist
COPY --from=build /opt/posologist /opt/posologist
USER posologist
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/posologist/bin/python", "-c", \
 "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/api/v1/health/ready', timeout=4)"]
# An account must be held before it listens on an address that others reach: see docs/serve.md.
ENTRYPOINT ["/opt/posologist/bin/posologist"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
