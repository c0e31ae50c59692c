#!/bin/sh
# Starts Mosquitto in its container, which has no more than sh: start.sh FOLDER COMMAND...
# First `milepost broker watch`, in a container beside this one, looks at FOLDER/dynamic-security.json and writes
# it anew when it is damaged: Mosquitto would start without users, and refuse every device.
folder=$1
shift
rm -f "$folder/users-checked"
deadline=$(($(date +%s) + ${PATIENCE_S:-60}))
until [ -e "$folder/users-checked" ]; do
    if [ "$(date +%s)" -ge "$deadline" ]; then
        # A broker is worth more than the watch, but not one that lets nobody in. Its end lets Docker try again.
        case $(tail -c 8 "$folder/dynamic-security.json" | tr -d '[:space:]') in
            *'}') echo "start.sh: no answer of milepost broker watch: starting with the users there are" >&2 && break ;;
        esac
        echo "start.sh: $folder/dynamic-security.json is damaged, and milepost broker watch has not mended it" >&2
        exit 1
    fi
    sleep 1
done
exec "$@"
