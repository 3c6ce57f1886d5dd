# as: root ann
# The case, twenty times.
# seconds: 1200
often=20
. /payload/cases/forkbomb.sh
