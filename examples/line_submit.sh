#!/bin/sh
# Hands one complaint to complaintd over the line protocol (docs/protocol.md) and prints its reference:
#
#   line_submit.sh HOST PORT TOKENFILE KEY < TEXT
#
# TLS from the first byte (line.listen_tls); CAFILE names who signed the server's certificate, TLSNAME the name in it (HOST). Sending
# again with the same KEY is safe: it is answered as the first time. Ends with 0 when the complaint is stored, 75 when it should be sent
# again later, 1 when it was refused. Needs openssl and jq.
set -eu
host=$1 port=$2 token=$3 key=$4
object=$(jq -Rsc --arg key "$key" '{key: $key, channel: "web", text: .}')
answer=$({
    printf 'AUTH %s\n' "$(jq -Rc '{token: .}' "$token")"
    printf 'SUBMIT %s\nQUIT\n' "$object"
} | openssl s_client -quiet -verify_return_error -verify_hostname "${TLSNAME:-$host}" -servername "${TLSNAME:-$host}" \
    ${CAFILE:+-CAfile "$CAFILE"} -connect "$host:$port" 2>/dev/null | sed -n 2p) || answer=
case $answer in
'OK '*) printf '%s\n' "${answer#OK }" | jq -r '.ref // .id' ;;
'ERR '*)
    printf '%s\n' "${answer#ERR }" | jq -r '"\(.code): \(.message)"' >&2
    [ "$(printf '%s\n' "${answer#ERR }" | jq .retry)" = true ] && exit 75
    exit 1 ;;
*)
    echo "no answer: whether it is stored is not known, send it again with the same key" >&2
    exit 75 ;;
esac
