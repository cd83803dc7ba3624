#!/usr/bin/env bash
# The benchmarks of another commit and of this tree, one after the other and over again, so that a busy machine hurts both alike:
# make bench-against COMMIT=v0.1.0 [BENCHES="decision review"] [ROUNDS=2]
#
# Of each line that both print, the least that was measured of either, and what it takes now for one of what it took.
set -euo pipefail

commit=$(git rev-parse --verify --quiet "${COMMIT:?COMMIT says what to compare with}^{commit}") || {
  echo "$COMMIT is no commit of this repository" >&2
  exit 2
}
read -ra benches <<<"${BENCHES:-decision review}"
rounds=${ROUNDS:-2}
here=$PWD out=$PWD/target/bench-against
tree=$out/tree
mkdir -p "$out"
git worktree remove --force "$tree" 2>/dev/null || git worktree prune
git worktree add --quiet --detach "$tree" "$commit"
trap 'git worktree remove --force "$tree"' EXIT

arguments=()
for bench in "${benches[@]}"; do arguments+=(--bench "$bench"); done
bench() { # TREE ARGUMENTS...
  (cd "$1" && shift && ${CARGO:-cargo} bench --locked --target-dir "$out/built" "${arguments[@]}" "$@")
}

bench "$tree" --no-run
bench "$here" --no-run
[ "$rounds" -gt 0 ] || exit 0
rm -f "$out"/old.txt "$out"/new.txt
for _ in $(seq "$rounds"); do
  BENCH_TABLE=$out/old.txt bench "$tree"
  BENCH_TABLE=$out/new.txt bench "$here"
done

# A line is a name of up to 72 characters, a value and its unit.
awk '
  { name = substr($0, 1, 72); sub(/ +$/, "", name); $0 = substr($0, 73); value = $1; unit = $2 }
  FNR == NR { if (!(name in old) || value < old[name]) old[name] = value; next }
  { if (!(name in new)) names[++count] = name; units[name] = unit; if (!(name in new) || value < new[name]) new[name] = value }
  END {
    printf "\n%-72s %10s %10s %-3s %6s\n", "WHAT", "THEN", "NOW", "", "RATIO"
    for (at = 1; at <= count; at++) {
      name = names[at]
      if (name in old && old[name] > 0)
        printf "%-72s %10s %10s %-3s %6.2f\n", name, old[name], new[name], units[name], new[name] / old[name]
    }
  }' "$out/old.txt" "$out/new.txt" | tee "$out/ratios.txt"
