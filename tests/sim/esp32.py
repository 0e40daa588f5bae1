"""The ESP32 port's `esp32` module as firmware sees it in simulation: Partition and NVS, over a modelled flash chip.

Same names, arguments, defaults and errors as ports/esp32/esp32_partition.c and esp32_nvs.c. `attach` is the
simulator's; all else of the real module is absent, and says so by AttributeError. NVS values are seen at once and
durable after commit(), which is all that ESP-IDF promises; they are kept whole in a file beside the flash image and
replaced in one step, because IDF's page format is its own business.
"""

import json
import os

_BLOCK_BYTES = 4096
_ANY_SUBTYPE = 0xFF
_ERR_INVALID_ARG = 0x102
_ERR_INVALID_SIZE = 0x104
_ERR_NVS_NOT_FOUND = 0x1102
_ERR_NVS_KEY_TOO_LONG = 0x1109
_ERR_NVS_INVALID_LENGTH = 0x110C
_NVS_NAME_CHARACTERS = 15  # of a namespace, and of a key

_flash = None
_table = ()
_nvs_path = None
_nvs_values = None


def attach(flash, partition_table):
    """Put a flash chip with these (label, type, subtype, offset, size) partitions under the module."""
    global _flash, _table, _nvs_path, _nvs_values
    _flash, _table, _nvs_path = flash, tuple(partition_table), flash.path + ".nvs"
    try:
        with open(_nvs_path) as file:
            _nvs_values = json.load(file)
    except OSError:
        _nvs_values = {}


def _fail(code, name):
    raise OSError(-code, name)


class Partition:
    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, id, block_size=_BLOCK_BYTES):
        if block_size != _BLOCK_BYTES:
            raise ValueError("block_size: only 4096 is modelled")
        if isinstance(id, int):
            found = [entry for entry in _table if entry[1] == self.TYPE_APP]
        else:
            found = [entry for entry in _table if entry[0] == id]
        if not found:
            raise OSError(2)
        self._entry = found[0]

    @staticmethod
    def find(type=TYPE_APP, subtype=_ANY_SUBTYPE, label=None, block_size=_BLOCK_BYTES):
        return [
            Partition(entry[0], block_size)
            for entry in _table
            if entry[1] == type and subtype in (_ANY_SUBTYPE, entry[2]) and label in (None, entry[0])
        ]

    def info(self):
        label, kind, subtype, offset, size = self._entry
        return kind, subtype, offset, size, label, False

    def _address(self, block, offset, length):
        at = block * _BLOCK_BYTES + offset
        if at < 0 or at > self._entry[4]:
            _fail(_ERR_INVALID_ARG, "ESP_ERR_INVALID_ARG")
        if at + length > self._entry[4]:
            _fail(_ERR_INVALID_SIZE, "ESP_ERR_INVALID_SIZE")
        return self._entry[3] + at

    def readblocks(self, block_num, buf, offset=0):
        _flash.read(self._address(block_num, offset, len(buf)), buf)

    def writeblocks(self, block_num, buf, offset=None):
        if offset is None:  # the simple protocol erases first; with an offset it only programs
            self._erase(block_num, len(buf))
            offset = 0
        _flash.program(self._address(block_num, offset, len(buf)), buf)

    def ioctl(self, op, arg=0):
        if op in (1, 2, 3):  # init, deinit, sync
            return 0
        if op == 4:
            return self._entry[4] // _BLOCK_BYTES
        if op == 5:
            return _BLOCK_BYTES
        if op == 6:
            self._erase(arg, _BLOCK_BYTES)
            return 0
        return None

    def _erase(self, block, length):
        if length % _BLOCK_BYTES:
            _fail(_ERR_INVALID_SIZE, "ESP_ERR_INVALID_SIZE")
        for address in range(0, length, _BLOCK_BYTES):
            _flash.erase(self._address(block, address, _BLOCK_BYTES))


class NVS:
    def __init__(self, namespace):
        if _nvs_values is None:
            raise OSError(2)
        self._space = self._short(namespace) + "."

    @staticmethod
    def _short(name):
        if len(name) > _NVS_NAME_CHARACTERS:
            _fail(_ERR_NVS_KEY_TOO_LONG, "ESP_ERR_NVS_KEY_TOO_LONG")
        return name

    def _name(self, key):
        return self._space + self._short(key)

    def _get(self, key, kind):
        value = _nvs_values.get(self._name(key))
        if value is None or value[0] != kind:
            _fail(_ERR_NVS_NOT_FOUND, "ESP_ERR_NVS_NOT_FOUND")
        return value[1]

    def get_i32(self, key):
        return self._get(key, "i32")

    def set_i32(self, key, value):
        if not -(1 << 31) <= value < 1 << 31:
            raise OverflowError("overflow converting long int to machine word")
        _nvs_values[self._name(key)] = ("i32", value)

    def get_blob(self, key, buffer):
        value = bytes.fromhex(self._get(key, "blob"))
        if len(value) > len(buffer):
            _fail(_ERR_NVS_INVALID_LENGTH, "ESP_ERR_NVS_INVALID_LENGTH")
        buffer[: len(value)] = value
        return len(value)

    def set_blob(self, key, value):
        _nvs_values[self._name(key)] = ("blob", bytes(value).hex())

    def erase_key(self, key):
        if _nvs_values.pop(self._name(key), None) is None:
            _fail(_ERR_NVS_NOT_FOUND, "ESP_ERR_NVS_NOT_FOUND")

    def commit(self):
        with open(_nvs_path + ".new", "w") as file:
            json.dump(_nvs_values, file)
        os.rename(_nvs_path + ".new", _nvs_path)

