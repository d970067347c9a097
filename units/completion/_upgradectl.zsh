#compdef upgradectl
# SPDX-License-Identifier: MIT
# zsh completion for upgradectl(1), which says itself what could come next: upgradectl completion words WORD...

_upgradectl() {
	local -a values shown open opened
	local line value told

	for line in "${(@f)$(${words[1]} completion words "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		value=${line%%$'\t'*} told=${line#*$'\t'}
		if [[ $value == ':files' ]]; then
			compset -P '--[^=]##='
			_files
		elif [[ $value == *= ]]; then
			open+=("$value") opened+=("$value  $told")
		elif [[ -n $value ]]; then
			values+=("$value")
			[[ $told != $line ]] && shown+=("$value  -- $told") || shown+=("$value")
		fi
	done
	(( $#values )) && compadd -l -d shown -a values
	(( $#open )) && compadd -S '' -l -d opened -a open
	return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
	_upgradectl "$@"
else
	compdef _upgradectl upgradectl
fi
