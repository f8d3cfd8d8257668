#!/usr/bin/env bash
# Does `docker compose up` keep its promises? Builds, starts, asks, scrapes, stops and starts again, on any Docker engine
# with compose v2. It works in a project and volumes of its own and removes them; the image tags are the usual ones.
#
#   deploy/smoke.sh                        needs bash, docker, curl
#   SMOKE_PORT=8000 SMOKE_PROMETHEUS_PORT=9090 SMOKE_GRAFANA_PORT=3000 SMOKE_BUILD=0 deploy/smoke.sh
set -euo pipefail
cd "$(dirname "$0")/.."

export COMPOSE_PROJECT_NAME=axon-smoke COMPOSE_PROFILES=dashboards
export AXON_PUBLISHED_PORT=${SMOKE_PORT:-18000} PROMETHEUS_PUBLISHED_PORT=${SMOKE_PROMETHEUS_PORT:-19090}
export GRAFANA_PUBLISHED_PORT=${SMOKE_GRAFANA_PORT:-13000}
axon=http://127.0.0.1:$AXON_PUBLISHED_PORT
prometheus=http://127.0.0.1:$PROMETHEUS_PUBLISHED_PORT
grafana=http://127.0.0.1:$GRAFANA_PUBLISHED_PORT

pass() { printf 'ok    %s\n' "$*"; }
fail() {
    printf 'FAIL  %s\n' "$*" >&2
    docker compose ps --all >&2 || true
    docker compose logs --tail 30 >&2 || true
    exit 1
}
expect() { # expect WHAT COMMAND…: the command succeeds
    local what=$1
    shift
    "$@" >/dev/null 2>&1 || fail "$what"
    pass "$what"
}
refuse() { # refuse WHAT COMMAND…: the command fails
    local what=$1
    shift
    if "$@" >/dev/null 2>&1; then fail "$what"; fi
    pass "$what"
}
within() { # within SECONDS COMMAND…: the command succeeds before the time is up
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 1
    done
}
container() { docker compose ps --all --quiet "$1"; }
state() { docker inspect --format "$2" "$(container "$1")"; }
in_service() { docker compose exec -T service "$@"; }
in_image() { docker run --rm --network none --entrypoint python axon "$@"; }
answers() { # answers URL TEXT…: the body holds every TEXT
    local body text
    body=$(curl --silent --show-error --fail --max-time 5 "$1") || return 1
    shift
    for text; do [[ $body == *"$text"* ]] || return 1; done
}
predict() {
    curl --silent --show-error --fail --max-time 10 "$axon/predict" \
        --data '{"model": "iris", "instances": [[5.1, 3.5, 1.4, 0.2]]}'
}
clean() { docker compose down --volumes --remove-orphans --timeout 10 >/dev/null 2>&1 || true; }
trap clean EXIT
clean

expect "the files of Compose are valid" docker compose config --quiet
expect "they are valid with Jaeger" docker compose -f docker-compose.yml -f deploy/jaeger.yml config --quiet
expect "they are valid with a GPU" docker compose -f docker-compose.yml -f deploy/gpu.yml config --quiet

if [[ ${SMOKE_BUILD:-1} != 0 ]]; then
    begin=$SECONDS
    docker compose build || fail "the images build"
    pass "the images build ($((SECONDS - begin)) s)"
fi

# The service image by itself.
size=$(docker image inspect --format '{{.Size}}' axon)
printf 'info  service image %s MB, training image %s MB\n' $((size / 1000000)) \
    $(($(docker image inspect --format '{{.Size}}' axon-training) / 1000000))
expect "the service package is in the service image" in_image -c 'import service.server'
expect "the service image inflates Arrow buffers" in_image -c 'import lz4.frame, zstandard'
expect "the service image writes a log of predictions" in_image -c 'import pyarrow.parquet'
for module in training pandas sklearn rich; do
    refuse "the service image has no $module" in_image -c "import $module"
done
user=$(docker image inspect --format '{{.Config.User}}' axon)
[[ -n $user && $user != root && $user != 0 ]] || fail "the image's user is not root (it is '$user')"
pass "the image's user is $user, uid $(in_image -c 'import os; print(os.getuid())')"

# Up: trained once, healthy, scraped. `--wait` would call the trainer's orderly end a failure, so the waiting is ours.
docker compose up --detach || fail "compose up"
healthy() { [[ $(state service '{{.State.Health.Status}}') == healthy ]]; }
within 180 healthy || fail "the service becomes healthy"
pass "the service is healthy"
[[ $(state training '{{.State.ExitCode}}') == 0 ]] || fail "training ended with 0"
pass "training ended with 0"
answer=$(predict) || fail "iris is predicted"
[[ $answer == *setosa* ]] || fail "iris is predicted: $answer"
pass "iris is predicted"

[[ $(in_service python -c 'import os; print(os.getuid())') != 0 ]] || fail "the service does not run as root"
pass "the service does not run as root"
[[ $(in_service cat /proc/1/cmdline | tr '\0' ' ') == python*service* ]] || fail "the service is PID 1"
pass "the service is PID 1"
# /var/tmp is everybody's to write, so that only a read-only file system can refuse.
refuse "the root file system cannot be written" in_service python -c 'open("/var/tmp/probe", "w")'
refuse "the models cannot be written" in_service python -c 'open("/models/probe", "w")'
expect "/tmp can be written" in_service python -c 'open("/tmp/probe", "w")'
status=$(in_service cat /proc/1/status)
# The bounding set: a process that is not root has no effective capabilities anyway.
[[ $status == *$'CapBnd:\t0000000000000000'* ]] || fail "the service can gain no capabilities"
pass "the service can gain no capabilities"
[[ $status == *$'NoNewPrivs:\t1'* ]] || fail "the service can gain no privileges"
pass "the service can gain no privileges"

up() { answers "$prometheus/api/v1/targets?state=active" '"job":"axon"' '"health":"up"'; }
counted() { answers "$prometheus/api/v1/query?query=axon_requests_total" '"model":"iris"' '"value":['; }
within 60 up || fail "Prometheus has the target up"
pass "Prometheus has the target up"
within 60 counted || fail "Prometheus has axon_requests_total"
pass "Prometheus has axon_requests_total"

# The rules and the dashboard.
evaluated() { answers "$prometheus/api/v1/rules" '"name":"AxonDown"' '"name":"AxonDrift"' '"health":"ok"'; }
within 60 evaluated || fail "Prometheus evaluates the rules"
pass "Prometheus evaluates the rules"
refuse "no rule has an error" answers "$prometheus/api/v1/rules" '"health":"err"'
shown() { answers "$grafana/api/dashboards/uid/axon" '"title":"Axon"' '"provisioned":true'; }
within 120 shown || fail "Grafana has the dashboard"
pass "Grafana has the dashboard"
asked() { answers "$grafana/api/datasources/proxy/uid/prometheus/api/v1/query?query=axon_worker_up" '"worker":"0"'; }
within 30 asked || fail "Grafana asks Prometheus"
pass "Grafana asks Prometheus"
refuse "nobody can change Grafana" curl --silent --fail --max-time 5 --data dashboard= "$grafana/api/dashboards/db"
refuse "nobody can log in to Grafana" curl --silent --fail --max-time 5 --user admin:admin "$grafana/api/admin/stats"

# Stop: orderly and quick.
listing() { docker run --rm --network none --volume "${COMPOSE_PROJECT_NAME}_models:/m:ro" --entrypoint python axon -c \
    'import pathlib; [print(p, p.stat().st_mtime_ns) for p in sorted(pathlib.Path("/m").rglob("*")) if p.is_file()]'; }
before=$(listing)
[[ -n $before ]] || fail "the volume holds models"
begin=$(date +%s%N)
docker compose stop service || fail "compose stop"
stop_ms=$((($(date +%s%N) - begin) / 1000000))
code=$(state service '{{.State.ExitCode}}')
[[ $code == 0 ]] || fail "the service exits with 0 when stopped (it was $code)"
((stop_ms < 15000)) || fail "the service stops within 15 s (it took $stop_ms ms)"
pass "the service stops with 0 in $stop_ms ms"

# And up again: the same models, not trained again.
docker compose up --detach || fail "compose up a second time"
within 180 healthy || fail "the service becomes healthy a second time"
predict >/dev/null || fail "iris is predicted a second time"
[[ $(listing) == "$before" ]] || fail "the second start leaves the models as they are"
pass "the second start leaves the models as they are"
printf 'all well\n'
