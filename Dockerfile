# One image for every role and for the worker; the role is the command (see docker-compose.yml).
FROM python:3.13-slim-bookworm AS build
ENV POETRY_VIRTUALENVS_IN_PROJECT=true POETRY_NO_INTERACTION=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/nms
RUN python -m venv /opt/poetry && /opt/poetry/bin/pip install 'poetry==2.5.*'
COPY pyproject.toml poetry.lock poetry.toml README.md ./
RUN /opt/poetry/bin/poetry sync --only main --all-extras --no-root
COPY nms nms
COPY db db
RUN /opt/poetry/bin/poetry sync --only main --all-extras

FROM python:3.13-slim-bookworm
RUN groupadd --system --gid 10001 nms && useradd --system --uid 10001 --gid 10001 --home-dir /srv/nms --shell /usr/sbin/nologin nms \
    && install --directory --owner=nms --group=nms /var/lib/nms
WORKDIR /srv/nms
COPY --from=build /srv/nms /srv/nms
COPY loggers.json ./
COPY examples examples
ENV PATH=/srv/nms/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DATA_DIR=/var/lib/nms
USER 10001:10001
VOLUME /var/lib/nms
EXPOSE 4000
ENTRYPOINT ["nms"]
CMD ["up", "--host", "0.0.0.0"]
