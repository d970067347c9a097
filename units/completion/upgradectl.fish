# SPDX-License-Identifier: MIT
# fish completion for upgradectl(1), which says itself what could come next: upgradectl completion words WORD...

function __upgradectl_complete
	set -l typed (commandline -opc)
	set -l current (commandline -ct)
	for line in ($typed[1] completion words $typed[2..-1] "$current" 2>/dev/null)
		if test "$line" = ':files'
			set -l option (string match -r '^--[^=]*=' -- "$current")
			for file in (__fish_complete_path (string replace -r '^--[^=]*=' '' -- "$current"))
				echo "$option$file"
			end
		else
			echo $line
		end
	end
end

complete -c upgradectl -f -a '(__upgradectl_complete)'
