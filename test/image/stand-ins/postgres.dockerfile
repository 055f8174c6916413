FROM tally-test-servers
COPY postgres-entrypoint.sh /
RUN mkdir -p /var/lib/postgresql/data && chown postgres:postgres /var/lib/postgresql/data
# As in the official image: a tmpfs on it takes its mode, not its owner.
RUN install --directory --owner postgres --group postgres --mode 3777 /run/postgresql
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/postgres-entrypoint.sh"]
