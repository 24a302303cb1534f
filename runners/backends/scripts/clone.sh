# Check out exactly one commit, as shallow as the server lets us, and see that what is to be built lies inside it.

fetch() { # ARGUMENTS of git fetch; what it says is shown and kept in /tmp/fetch; what the network broke is tried again
    for pause in 2 5 0; do
        {
            git -c gc.auto=0 fetch --progress --no-tags --no-recurse-submodules "$@"
            echo $? >/tmp/fetched
        } 2>&1 | tee /tmp/fetch
        [ "$(cat /tmp/fetched)" != 0 ] && [ $pause != 0 ] || break
        grep -Eqi 'connection (was|reset|closed|timed)|timed out|early EOF|hung up|resolve host|error: 5[0-9][0-9]' /tmp/fetch || break
        sleep $pause
    done
    return "$(cat /tmp/fetched)"
}

here() { git cat-file -e "$REPO_COMMIT^{commit}" 2>/dev/null; }

login() { # git asks a helper, which reads the mounted files: nothing of it in a URL, an argument or the environment
    if [ -s /ci-portal/git/password ]; then
        host=${REPO_PATH#https://}
        printf '%s\n' '[ "$1" = get ] || exit 0' \
            'printf "username=%s\n" "$(cat /ci-portal/git/username)"' \
            'printf "password=%s\n" "$(cat /ci-portal/git/password)"' >/tmp/credential
        git config --global "credential.https://${host%%/*}.helper" '!sh /tmp/credential'
    fi
    key=''
    if [ -s /ci-portal/git/ssh-key ]; then
        (umask 077 && tr -d '\r' </ci-portal/git/ssh-key >/tmp/key && echo >>/tmp/key)
        key='-o IdentitiesOnly=yes -o IdentityFile=/tmp/key'
    fi
    export GIT_SSH_COMMAND="ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=yes \
-o UserKnownHostsFile=/ci-portal/git/known-hosts -o GlobalKnownHostsFile=/dev/null $key"
}

trust() { # the certificates of ca_secret beside the system's: git takes one file
    [ -e /ci-portal/ca/ca.crt ] || return 0
    for system in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
        [ -r "$system" ] && break
    done
    { cat "$system" 2>/dev/null; echo; cat /ci-portal/ca/ca.crt; } >/tmp/ca.pem
    git config --global http.sslCAInfo /tmp/ca.pem
}

get_commit() {
    fetch --depth=1 origin "$REPO_COMMIT"
    here && return
    # Some servers hand out branches and tags only: take the ref and go back from there until the commit turns up.
    grep -q 'not our ref\|unadvertised object\|remote ref' /tmp/fetch || fail clone_failed 'the repository could not be fetched'
    fetch --depth=1 origin "+$REPO_REF:refs/ci-portal/ref" ||
        { grep -q 'remote ref' /tmp/fetch && fail commit_gone "neither commit $REPO_COMMIT nor $REPO_REF is there any more"
          fail clone_failed 'the repository could not be fetched'; }
    for more in 50 500 5000 50000; do
        here && return
        fetch --deepen="$more" origin "+$REPO_REF:refs/ci-portal/ref" || fail clone_failed 'the repository could not be fetched'
    done
    here || fail commit_gone "commit $REPO_COMMIT is not in $REPO_REF any more"
}

main() {
    export LC_ALL=C HOME=/tmp GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=https:ssh GIT_CONFIG_NOSYSTEM=1
    git config --global http.followRedirects false
    git config --global http.lowSpeedLimit 1
    git config --global http.lowSpeedTime 60
    git config --global core.hooksPath /dev/null
    git config --global advice.detachedHead false
    login
    trust
    printf 'Cloning %s\n' "$REPO_PATH"
    git init --quiet --template= /ci-portal/work/source && cd /ci-portal/work/source || fail clone_failed 'no room for the checkout'
    source=$(pwd -P)
    git remote add origin "$REPO_PATH"
    get_commit
    git checkout --quiet --detach "$REPO_COMMIT" || fail clone_failed 'the commit could not be checked out'
    if [ "$REPO_SUBMODULES" = 1 ]; then
        git submodule update --init --recursive --depth=1 || fail submodules_failed 'the submodules could not be fetched'
    fi
    printf 'Checked out %s\n' "$(git log -1 --format='%h %s (%an, %as)')"
    context=$(readlink -f -- "$source/$BUILD_PATH")
    dockerfile=$(readlink -f -- "$source/$REPO_DOCKERFILE")
    case $context/ in "$source"/*) ;; /) ;; *) fail outside_checkout "build_path $BUILD_PATH leads out of the checkout" ;; esac
    case $dockerfile in "$source"/* | '') ;; *) fail outside_checkout "dockerfile $REPO_DOCKERFILE leads out of the checkout" ;; esac
    [ -d "$context" ] || fail build_path_missing "there is no directory $BUILD_PATH in this commit"
    [ -f "$dockerfile" ] || fail dockerfile_missing "there is no file $REPO_DOCKERFILE in this commit"
    report commit "$(git rev-parse HEAD)"
}
