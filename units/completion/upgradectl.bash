# SPDX-License-Identifier: MIT
# bash completion for upgradectl(1), which says itself what could come next: upgradectl completion words WORD...
# shellcheck shell=bash

_upgradectl()
{
	local cur=${COMP_WORDS[COMP_CWORD]} words=() word strip line glued='' i

	COMPREPLY=()
	# readline breaks words at "=": put together what is one word.
	for ((i = 1; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $word == '=' && ${#words[@]} -gt 0 && ${words[-1]} == --* && ${words[-1]} != *=* ]]; then
			words[-1]+='=' glued=yes
		elif [[ -n $glued ]]; then
			words[-1]+=$word glued=''
		else
			words+=("$word")
		fi
	done
	[[ $cur != '=' ]] || cur=''
	strip=${words[-1]%"$cur"}
	while IFS= read -r line; do
		if [[ $line == ':files' ]]; then
			mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
			compopt -o filenames 2>/dev/null
		else
			line=${line%%$'\t'*}
			COMPREPLY+=("${line#"$strip"}")
		fi
	done < <("$1" completion words "${words[@]}" 2>/dev/null)
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
	return 0
}

complete -F _upgradectl upgradectl
