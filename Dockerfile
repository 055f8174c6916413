# One image for every process of Tally; the argument says which one runs:
#   docker run tally-refresh worker | producer | dashboard | migrate | status | …
#
# On a base image of your own, or the same one pinned by its digest:
#   docker build --build-arg NODE_IMAGE=node:24-bookworm-slim@sha256:… .

# The stage below, unless set.
ARG NODE_IMAGE=node
# Literally, because Dependabot reads no ARG.
FROM node:24.22.3-bookworm-slim AS node

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY shared ./shared
COPY producers ./producers
COPY workers ./workers
COPY dashboard ./dashboard
COPY cli ./cli
RUN npm run build

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The embedded Postgres is an optional dependency; a container is given its servers by URL.
RUN npm ci --omit=dev --omit=optional

FROM ${NODE_IMAGE}
# Fixed, so that the health check knows the worker's port, too.
ENV NODE_ENV=production \
    HTTP_HOST=0.0.0.0 \
    WORKER_PORT=3002
WORKDIR /app
COPY package.json LICENSE deploy/health.mjs ./
COPY --from=packages /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
RUN ln -s /app/dist/cli/main.js /usr/local/bin/tally
EXPOSE 3000 3001 3002
# In numbers: Kubernetes can't tell whether a name is root's.
USER 10000:10000
# Whether the process runs, whichever it is; whether it can do its work is health.mjs /readyz. Docker
# Swarm replaces containers that aren't healthy, which is no help while a store is unavailable.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["node", "health.mjs"]
# The exec form: signals reach node itself, which then finishes what is in hand.
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["--help"]

# Last, because they differ from build to build.
ARG VERSION=0.1.0
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="Tally" \
      org.opencontainers.image.description="Keeps the stored status of every execution equal to what its tasks say." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
