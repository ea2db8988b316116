# shellcheck shell=bash disable=SC2154
# Packages from Debian's archive, as this machine's apt is configured; sourced
# by build.sh. Nothing of this machine's own packages is seen. Used are $work
# (the place for lists and downloads), $name, die and progress.

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# apt, seeing Debian's archive only and no installed package.
apt_debian() {
	local cmd=$1; shift
	"$cmd" -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::status=/dev/null -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o APT::Sandbox::User=root -o APT::Get::List-Cleanup=false "$@"
}

# The Debian lines of this machine's sources, whatever mirror they name,
# checked against Debian's own keys.
debian_sources() {
	local signed=
	if [ -e "$keyring" ]; then signed="[signed-by=$keyring] "; fi
	apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' |
		awk -v s="$signed" '$1 == "Packages" && $2 == "Debian" { print "deb " s $3 " " $4 " " $5 }' |
		sort -u >"$work/sources.list.new"
	[ -s "$work/sources.list.new" ] || die "no Debian archive in apt's sources; run apt-get update first"
	cmp -s "$work/sources.list.new" "$work/sources.list" || cp "$work/sources.list.new" "$work/sources.list"
}

# The packages named and all that they depend on, without what base images do
# not want: the package manager's own and what is only there for installing.
debian_closure() {
	apt_debian apt-get install -s --no-install-recommends "$@" 2>&1 >"$work/closure" </dev/null |
		grep -v '^$' >"$work/closure.err" || true
	awk '$1 == "Inst" { print $2 }' "$work/closure" | sort -u
}

# "package version" for each of the arguments, one a line.
debian_versions() {
	apt_debian apt-cache policy "$@" |
		awk '/^[^ ]/ { p = $1; sub(/:$/, "", p) } $1 == "Candidate:" && $2 != "(none)" { print p, $2 }'
}

# The file of a package and version.
debian_file() { # package version
	compgen -G "$work/debs/$1_${2//:/%3a}_*.deb"
}

# Downloads what is not there yet of the "package version" lines on stdin.
debian_fetch() {
	local p v want=()
	while read -r p v; do
		debian_file "$p" "$v" >/dev/null || want+=("$p=$v")
	done
	[ ${#want[@]} -gt 0 ] || return 0
	progress "fetching ${#want[@]} packages"
	(cd "$work/debs" && apt_debian apt-get -qq download "${want[@]}") >"$work/$name.log" 2>&1
}
