#!/bin/sh
# Sends what scanners left in a folder, every night. A line for crontab:
#   30 22 * * *  /srv/xferengine/upload-nightly.sh
#
# --min-age   leaves out what may still be written
# --until     stops in the morning; the same command goes on the next night
# --yes       nobody is there to be asked
# -q          says nothing when all is well, so that cron sends no mail

xferengine upload /srv/incoming -P main:NEURO --map /srv/xferengine/map.csv \
    --min-age 1h --until 06:30 --yes -q --log-file /srv/xferengine/upload.log
code=$?

case $code in
    0)  exit 0 ;;                                  # everything arrived and was verified
    10) exit 0 ;;                                  # morning came first: the rest goes on tonight
    3)  echo "Some sessions did not arrive; see  xferengine jobs list" >&2 ;;
    *)  echo "xferengine ended with code $code" >&2 ;;
esac
exit $code
