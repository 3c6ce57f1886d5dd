# as: root
# The case with ten workers, five times.
# seconds: 1200
often=5 freeze_workers=10
. /payload/cases/freeze.sh
