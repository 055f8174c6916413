FROM tally-test-servers
RUN mkdir /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
