export _KFP_RUNTIME=true PYTHONSAFEPATH=1
case $0 in '' | installed:*) ;; *)
  set -f
  export INTO=$(mktemp -d) WHEELS="${0%code/*}wheels"
  export PYTHONPATH="$INTO${PYTHONPATH:+:$PYTHONPATH}"
  pip="python3 -m pip -q --disable-pip-version-check --no-input install --no-deps --target $INTO"
  case $0 in
    */) $pip --no-index --require-hashes -r "$0$3.txt" ;;
    *) $pip $0 ;;
  esac ;;
esac
python3 -c 'import tunepipe' 2>/dev/null || {
  echo "error: no tunepipe here: give code a wheel's URL with its hash or a requirement, or take an image that has it (docs/deploying.md)" >&2
  exit 2
}
exec python3 -m tunepipe.packaging.step "$0" "$@"  # runs kfp.dsl.executor_main
