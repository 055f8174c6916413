# One image for every process of Tally; the argument says which one runs:
#   docker run tally-refresh worker | producer | dashboard | migrate | status | …

FROM node:20.20.2-bookworm-slim AS build
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

FROM node:20.20.2-bookworm-slim
ENV NODE_ENV=production \
    HTTP_HOST=0.0.0.0
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The embedded Postgres is an optional dependency; a container is given its servers by URL.
RUN npm ci --omit=dev --omit=optional && npm cache clean --force
COPY --from=build /app/dist ./dist
USER node
# The exec form: signals reach node itself, which then finishes what is in hand.
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["--help"]
