# What shells do: words, arrays, substitutions, and a fork for each.
declare -A seen
for ((number = 0; number < $1; number++)); do
    word=w$((number * 7919 % 1009))
    seen[$word]+=" $number"
    if ((number % 100 == 0)); then
        text=$(echo "${seen[$word]}" | tr ' ' ',')
        seen[$word]=${text//,/ }
    fi
done
for word in "${!seen[@]}"; do echo "$word${seen[$word]}"; done | sort | tail -n 5
echo "${#seen[@]}"
