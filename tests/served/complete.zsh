# A zsh of its own on a terminal of its own: completions are loaded as docs/operations.md says, lines are typed, a tab is pressed,
# and what stands on the line then is printed. Arguments: one line each, without the tab.
zmodload zsh/zpty || exit 9
zpty shell 'PS1= TERM=dumb zsh -f -i'
type() { zpty -w shell "$1"; zpty -r shell said "*$2*" || exit 8 }
type 'autoload -Uz compinit && compinit -u -D; source <(ctl completion zsh); print loaded-$((1+1))' loaded-2
type 'shown() { print -r -- "<<$BUFFER>>"; BUFFER=; }; zle -N shown; bindkey "^X" shown; print bound-$((1+1))' bound-2
for line; do
  zpty -wn shell "$line"$'\t\x18'
  zpty -r shell said '*<<*>>*' || exit 8
  print -r -- "${${said##*<<}%%>>*}"
done
zpty -d shell
