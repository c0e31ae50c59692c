# One image for all of Milepost's processes: the command says which (api, ingest, jobs, migrate, …).

FROM python:3.11-slim-bookworm AS builder
WORKDIR /app
RUN python -m venv /opt/venv
# What changes seldom first: the packages of others, every one a wheel, so that no compiler is needed.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /tmp/requirements.txt \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: \
        -c constraints.txt -r /tmp/requirements.txt
COPY . .
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps -c constraints.txt -e .
# A clone made under a strict umask can be read by its owner only, who is nobody in here.
RUN chmod -R a+rX /app

FROM python:3.11-slim-bookworm
# What lays out reports as PDF, and fonts for it: the image has none.
RUN apt-get update && apt-get install -y --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 \
        libharfbuzz-subset0 fonts-liberation fonts-dejavu-core && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin milepost
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /app /app
ENV PATH="/opt/venv/bin:$PATH" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["milepost"]
CMD ["api"]
