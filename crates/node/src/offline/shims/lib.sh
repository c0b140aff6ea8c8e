# Read by every shim: what it needs to tell Kiln what was asked of a system that does not run.
kiln_dir=/dev/kiln

# note KIND TEXT: reported when the step is done, and at the end of the build.
note() {
    printf '%s\t%s\n' "$1" "$2" >>"$kiln_dir/notes" 2>/dev/null || :
}

# real NAME: the image's own program of this name.
real() {
    kiln_name=$1
    kiln_ifs=$IFS
    # Only what comes of a variable is split.
    kiln_places=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    IFS=:
    for kiln_place in $kiln_places; do
        case $kiln_place in "$kiln_dir"/*) continue ;; esac
        if [ -x "$kiln_place/$kiln_name" ] && [ ! -d "$kiln_place/$kiln_name" ]; then
            IFS=$kiln_ifs
            printf '%s\n' "$kiln_place/$kiln_name"
            return 0
        fi
    done
    IFS=$kiln_ifs
    return 1
}

# need NAME: the same, or what a shell says of a program that is not there.
need() {
    real "$1" || {
        echo "$1: not found" >&2
        return 127
    }
}

# append_once FILE LINE
append_once() {
    mkdir -p "${1%/*}" || return 1
    if [ -f "$1" ]; then
        while IFS= read -r kiln_line; do
            [ "$kiln_line" = "$2" ] && return 0
        done <"$1"
    fi
    printf '%s\n' "$2" >>"$1"
}
