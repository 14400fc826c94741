"""Passwords that are among the first anybody tries: the commonest of eight characters and more in what has leaked.

Short on purpose: it is for what is tried against a live server, a few guesses at a time; limits on attempts do the
rest.
"""

from __future__ import annotations

from typing import Final

_TEXT: Final = """
00000000 0000000000 01234567 0123456789 0987654321 10203040 11111111 1111111111 11112222 11223344 1122334455
12121212 12312312 123123123 123321123 12341234 12344321 1234512345 123454321 12345678 123456789 1234567890
12345678910 123456789a 123456789q 12345678a 1234567a 1234abcd 1234qwer 123654789 12413412 13579246 135792468
1357924680 147258369 147258369a 147852369 159357456 159753456 1a2b3c4d 1q2w3e4r 1q2w3e4r5t 1q2w3e4r5t6y 1qaz1qaz
1qaz2wsx 1qaz2wsx3edc 1qazxsw2 20202020 21212121 22222222 23232323 24682468 25802580 31415926 33333333 43214321
44444444 55555555 55667788 63636363 66666666 69696969 74108520 741852963 75395128 753951456 77777777 78945612
789456123 87654321 88888888 963852741 98765432 987654321 9876543210 99999999 a1234567 a12345678 a123456789 a1b2c3d4
a1s2d3f4 aa123456 aaaaaaaa abc12345 abc123456 abcd1234 abcd12345 abcdefgh abcdefghi abcdefghij access14 adgjmptw
admin123 admin1234 admin12345 administrator alexander alexandra angelina anthony1 arsenal1 asd12345 asdasdasd
asdf1234 asdfasdf asdfghjk asdfghjkl asdfghjkl1 asdfjkl; ashley12 babygirl babygirl1 barcelona baseball baseball1
basketball batman123 beautiful benjamin bigdaddy blink182 brooklyn buddy123 butterfly butterfly1 caroline celtic1888
changeme changeme1 charlie1 chelsea1 chocolate chocolate1 christian christine christopher cocacola computer
computer1 corvette courtney cowboys1 danielle december default1 dolphins dragon12 dragon123 einstein elephant
elizabeth evolution facebook facebook1 familyguy fernando firebird flamingo flower123 football football1 football12
fortnite freedom1 friends1 fuckyou1 garfield gateway1 gfhjkm123 godzilla google123 greenday guitar123 hahahaha
hallo123 hardcore harrison hello123 hello1234 hellohello hercules hermione hollywood hotmail1 iceman12 iloveyou
iloveyou! iloveyou1 iloveyou12 iloveyou123 iloveyou2 internet inuyasha isabella jackass1 jasmine1 jennifer jennifer1
jessica1 jonathan jordan23 justin12 katherine killer123 kristina langkawi lasvegas leonardo letmein! letmein1
letmein123 liberty1 limited1 liverpool liverpool1 logitech lollipop london123 love1234 lovelove loveyou1 manchester
marlboro marshall martinez master123 maverick melissa1 mercedes metallica metallica1 michael1 michelle microsoft
minecraft minecraft1 mississippi monkey12 monkey123 monster1 mother123 motorola mustang1 myspace1 naruto123
nathaniel newyork1 nicholas nintendo november olivia123 p@ssw0rd p@ssword pa$$w0rd pa55w0rd pa55word paradise
parola123 passport passw0rd passw0rd1 password password! password.1 password0 password01 password1 password1!
password11 password12 password123 password1234 password12345 password2 password3 password7 password99 passwort
passwort1 patricia personal pikachu1 pineapple platinum playboy1 playstation pokemon1 pokemon123 porsche911 precious
princess princess1 princess12 private1 q1234567 q1w2e3r4 q1w2e3r4t5 q1w2e3r4t5y6 qazwsx123 qazwsxed qazwsxedc
qq123456 qwe12345 qwe123qwe qweasd123 qweasdzxc qweqweqwe qwer1234 qwert123 qwert12345 qwerty01 qwerty11 qwerty12
qwerty123 qwerty1234 qwerty12345 qwerty123456 qwerty78 qwertyui qwertyuio qwertyuiop qwertyuiop1 rainbow1 rangers1
redskins remember rockstar rockyou1 rush2112 samantha samsung1 samsung123 sandiego scooter1 scorpion secret123
september serenity shadow12 shadow123 sherlock simpsons slipknot slipknot1 snickers snowball soccer12 softball
sometest spiderman spiderman1 spitfire starwars starwars1 steelers stephanie stewart1 sunflower sunshine sunshine1
superman superman1 superstar supreme1 sweetheart swordfish test1234 testing1 testing123 testpass testtest thunder1
tigger12 tinkerbell trustno1 trustno1! twilight undertaker valentina valentine vanessa1 veronica vfhbyf123 victoria
victoria1 warcraft welcome! welcome1 welcome12 welcome123 westside whatever whatever1 william1 windows1 winston1
winter12 wolverine wonderful yankees1 yellow12 zaq12wsx zaq1xsw2 zaq1zaq1 zaqwsxcde zxcvbnm, zxcvbnm,./ zxcvbnm1
zxcvbnm123 zzzzzzzz
"""

COMMON: Final = frozenset(_TEXT.split())
"""In small letters."""
