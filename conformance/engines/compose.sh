# docker-compose (Debian's) on a dockerd whose default runtime is the tested one.

# include docker-engine.sh

## up, two services that reach each other, scale, logs, down
mkdir -p "$WORK/tmp/project" && cd "$WORK/tmp/project"
cat >compose.yaml <<'YAML'
version: "3"
services:
  web:
    image: box
    command: [httpd, -f, -h, /www]
    restart: always
    healthcheck: {test: [CMD, wget, -qO-, "http://127.0.0.1/"], interval: 1s}
  client:
    image: box
    command: [sh, -c, "until wget -qO- http://web/; do sleep 0.2; done; sleep 10000"]
    depends_on: [web]
    read_only: true
    tmpfs: [/scratch]
    volumes: ["data:/data"]
    mem_limit: 64m
volumes: {data: {}}
YAML
docker-compose -f compose.yaml up -d
soon sh -c 'docker-compose logs client | grep page'
is 67108864 docker-compose exec -T client cat /sys/fs/cgroup/memory/memory.limit_in_bytes
docker-compose up -d --scale web=3
is 3 sh -c 'docker-compose ps -q web | wc -l'
docker-compose pause client
docker-compose unpause client
docker-compose restart -t 0 client
soon docker-compose exec -T client true
docker-compose down -t 0 -v
lacks . engine ps -aq
