"""From a flash image to boards, by esptool."""
