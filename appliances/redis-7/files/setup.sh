#!/bin/sh
# Runs once as root while the template is built, and is not kept in it.
set -eu

# The distribution's own configuration and data are not used.
rm -rf /etc/redis /var/lib/redis /var/log/redis

install -d -o redis -g redis -m 0700 /var/lib/redis /var/lib/redis/data /var/lib/redis/run

redis-server --version
