FROM tally-test-servers
RUN mkdir /prometheus && chown nobody /prometheus
VOLUME /prometheus
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
