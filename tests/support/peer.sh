# Sourced by each peer's install.sh, when the peer is not there yet.
#
#   require WHAT TOOL...   ends the script where a tool is missing, with one sentence that names the packages;
#                          with --check as the script's argument, it ends it here in any case

require() {
  what=$1
  shift
  missing="" packages=""
  for tool in "$@"; do
    case $tool in
      libtoolize) command -v libtoolize >/dev/null || command -v glibtoolize >/dev/null && continue ;;
      *) command -v "$tool" >/dev/null && continue ;;
    esac
    missing="$missing $tool"
    case $tool in
      node | npm) package=nodejs\ npm ;;
      c++) package=g++ ;;
      autoreconf) package=autoconf ;;
      aclocal) package=automake ;;
      libtoolize) package=libtool ;;
      xz) package=xz-utils ;;
      mvn) package=maven ;;
      java) package=openjdk-17-jre-headless ;;
      cargo | go) package="" ;;
      *) package=$tool ;;
    esac
    case " $packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
  done
  if [ -n "$missing" ]; then
    remedy="Debian: apt install$packages"
    case $missing in
      *cargo*) remedy="https://rustup.rs" ;;
      *go*) remedy="https://go.dev/doc/install" ;;
    esac
    echo "$what cannot be had without:$missing ($remedy)" >&2
    exit 1
  fi
  if [ "${peer_mode:-}" = --check ]; then exit 0; fi
}
