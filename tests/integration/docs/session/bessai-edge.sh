#!/usr/bin/env bash
# The program, with the devices, the broker and the data of the test in place of the documented ones.
set -euo pipefail

arguments=()
for argument in "$@"; do
  argument=${argument//192.168.1.20:502/192.168.1.20}
  argument=${argument//192.168.1.30:502/192.168.1.30}
  argument=${argument//192.168.1.20/$DOCS_BATTERY}
  argument=${argument//192.168.1.30/$DOCS_SUNSPEC}
  arguments+=("${argument//192.168.1.40/$DOCS_PLAIN}")
done
export XDG_CACHE_HOME=$DOCS_CACHE

if [ "${1:-}" = demo ]; then
  exec "$DOCS_PROGRAM" "${arguments[@]}"
fi

export SITE_ID=SITE-CL-001 INVERTER_IP=127.0.0.1 INVERTER_PORT=$DOCS_BATTERY_PORT MQTT_BROKER_URL=$DOCS_BROKER
export BESSAI_DATA=$DOCS_DATA HEALTH_PORT=$DOCS_HEALTH_PORT
case " $* " in
  " run "*)
    # Beside the one that runs already. In the foreground, because timeout signals its whole group otherwise: the gateway
    # would get two signals and exit without draining.
    BESSAI_DATA=$(mktemp -d) HEALTH_PORT=0 exec timeout --foreground --preserve-status --signal TERM 3 "$DOCS_PROGRAM" "${arguments[@]}"
    ;;
  *" --watch "*)
    timeout 2 "$DOCS_PROGRAM" "${arguments[@]}" && exit 1
    [ $? = 124 ]
    ;;
  *" rtu:///"*)
    # There is no serial port: the arguments are read, and it is named.
    ! "$DOCS_PROGRAM" "${arguments[@]}" 2>error || exit 1
    grep /dev/ttyUSB0 error
    ;;
  *) exec "$DOCS_PROGRAM" "${arguments[@]}" ;;
esac
