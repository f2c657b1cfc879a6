"""libtorrent for the integration tests: makes torrents, and is a peer.

libtorrent_peer.py make OUT PIECE_LENGTH PATH [TRACKER]      a v1 torrent of a file or a folder
libtorrent_peer.py seed FOLDER HOST PORT TORRENT...          has them in FOLDER; prints "ready"
libtorrent_peer.py get FOLDER HOST PORT TORRENT...           fetches them; prints "ready", then "done"

A peer connects to every HOST:PORT line on standard input, and ends when that is closed.
"""
import os
import sys
import threading

import libtorrent as lt

SETTINGS = {
    "allow_multiple_connections_per_ip": True,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
}


def files_of(path):
    if os.path.isfile(path):
        return [path]
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


def make(out, piece_length, path, tracker=None):
    top = os.path.dirname(os.path.abspath(path))
    storage = lt.file_storage()
    # Sorted, so that a test knows which file has which index.
    for file in sorted(files_of(os.path.abspath(path))):
        storage.add_file(os.path.relpath(file, top), os.path.getsize(file))
    torrent = lt.create_torrent(storage, int(piece_length), flags=lt.create_torrent.v1_only)
    if tracker:
        torrent.add_tracker(tracker)
    lt.set_piece_hashes(torrent, top)
    with open(out, "wb") as file:
        file.write(lt.bencode(torrent.generate()))


def connect_as_told(handles):
    for line in sys.stdin:
        host, port = line.strip().rsplit(":", 1)
        for handle in handles:
            handle.connect_peer((host, int(port)))
    os._exit(0)


def peer(seeding, folder, host, port, *torrents):
    session = lt.session({**SETTINGS, "listen_interfaces": f"{host}:{port}"})
    handles = []
    for torrent in torrents:
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(torrent)
        params.save_path = folder
        if seeding:
            params.flags |= lt.torrent_flags.seed_mode
        params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
        handles.append(session.add_torrent(params))
    waiting = len(handles)
    if not seeding:
        print("ready", flush=True)
    threading.Thread(target=connect_as_told, args=(handles,), daemon=True).start()
    while waiting:
        session.wait_for_alert(1000)
        for alert in session.pop_alerts():
            print(alert.message(), flush=True)
            if isinstance(alert, lt.torrent_finished_alert):
                waiting -= 1
    if not seeding:
        # A torrent is finished before its last blocks are in the file: the session's end waits for them.
        handles.clear()
        del session
    print("ready" if seeding else "done", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "make":
        make(*arguments)
    else:
        peer(command == "seed", *arguments)
