#!/bin/sh
# The title was written by somebody else: it is one argument, and never code. It begins with "about: ", so it is no option either.
printf 'working on %s\n(%s)\n' "$1" "$2"
printf '{"worker": "%s"}\n' "$WEIR_WORKER" > "$WEIR_RESULT_FILE"
