#!/bin/sh
# Where your agent goes: the prompt is the first argument, one argument whatever is in it. Never give it to a shell as code.
prompt=$1
echo "working on: $prompt"
sleep 1
printf '{"words": %d}\n' "$(printf %s "$prompt" | wc -w)" > "$WEIR_RESULT_FILE"
