code=$0
export _KFP_RUNTIME=true PYTHONSAFEPATH=1
case $code in '' | installed:*) ;; *)
  set -f
  into=$(mktemp -d)
  export PYTHONPATH="$into${PYTHONPATH:+:$PYTHONPATH}" WHEELS="${code%code/*}wheels"
  pip="python3 -m pip --quiet --disable-pip-version-check --no-input install --target $into"
  case $code in
    */) $pip --no-index --no-deps --require-hashes -r "$code$3.txt" ;;
    *)
      $pip --no-deps $code
      python3 -m tunepipe.packaging.installed add "$pip" "$code" $4 ;;
  esac ;;
esac
python3 -c 'import tunepipe' 2>/dev/null || {
  echo "error: no tunepipe here; give the parameter code a wheel's URL with its hash or a requirement, or run on an image that has it (docs/deploying.md)" >&2
  exit 2
}
folder=$(python3 -m tunepipe.packaging.installed check "$code")
exec python3 -m kfp.dsl.executor_main --component_module_path "$folder/$2.py" --function_to_execute "$3" --executor_input "$1"
