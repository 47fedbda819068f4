# ruff: noqa: SIM905 - a table reads better as text
"""Libmemcached's 99 keys and the servers they go to, 10.0.1.1 to 10.0.1.8, by last digit.

The values are those of its ketama tests (``test/fixtures/ketama.hpp``): weights 600, 300, 200,
350, 1000, 800, 950 and 100.
"""

KEYS = r"""
SVa_]_V41) */Z;?V(.\8 30C1*Z*S/_ ERR:EC58G> 1I=cTMNTKF ]VG<`I*Z8) UUTC`-V159 @7RU6C6T+Z
/XLN0@+36; 4(`X;\V.^c 726bW=9*a4 \`)<B)UE,c P1[Ma3=K1/ C89I.-V?cT D[HE+cFXDK P1L?NAB[)K
cDT0)Z5P6, @JW`+[WAO8 \39DKW^)N_ EM75N0+[X1 `,SS]NBP,b XX1a9LT+F? Zc\-,F-c6V 1*RTMC7,03
*Xc+V0P>32 U))Fb-(`,. R-08RNTaRT (LHcO203I3 =256P+;Qc8 OI5XZ_BBT( 2TLRL/UL;: WHD\O1`ZRW
.=54)_c;=T ;G<W-XWZ@b (,>E`)FT\4 HZAU*;P*N] NZ@ZE=O84_ 6,cEI`F_P> c,5AQ/T5)6 .O,>>BT)RX
XY\X::LX50 +550F^/.01 <.X9E2S5+9 ]\.UH8_0a1 8(6=(T0/Z0 8*6a;Sc*X+ <QW:;3K6;H 7C@EY@-Y?_
aPb3E1WD4K ?@12R<=1BH QR(a+Q=1FU `C9^FV,960 UNHVP..^8H :Y.2W2[(35 M/HV^_HZ4O ZY16KQ<ICD
bV2,`a.PY9 U;9:-+5N]9 1S/:aJ[1(; Nb-X^]M)I: 2;M;ES>J5/ [>RZHG97Q9 J3/G[)9<^Z N-)88>[O`,
NP:=FR\OaA `@L+W;a,O[ W2`P:-+1T[ -6G7K^YDIN U>*>9ZI6V5 .I?^6Ic9RK 0OZH^9BKM[ 5?50UGZ:ML
?K2NF@3=IU YI@G-2X?UB 7cY</BSaL= A(`KF:[RH8 ;=ZT\W^P+H b2?WFF56;R CTR74,J+N. <b;*R+QDST
\R^7=9UCG` 1bQS5]WOXB M(@X^b[L:K 431cBF8,YO (bEIQJ:E./ WS/3H*)7F; ZJF[Ia6Q)+ <]*QCK8U,>
\[a\^=V_M0 7;RM+8J9YC 4*=.SPR[AV -2F+^88P4U X;-F`(N?9D R=F_D-K2a] X*+2aaC.EG [1ZXONX2]a
FL;\GWacaV \MQ_XNT7L- VD6D0]ba_\
""".split()

WEIGHTED = "".join(
    """
71275555 11718831 55341558 77555775 15277685 66747255 18664774 11267675 76576685 15664485
54176577 67177754 471
""".split()
)

SPY = "".join(
    """
24274576 76381557 12651665 77513521 67517377 72766575 21536647 72536462 75755626 66766775
67417355 77375137 757
""".split()
)

POSITIONS = {"SVa_]_V41)": 443691461, "30C1*Z*S/_": 1473165754, "VDEAAAAA": 0xFFFCD1B5}
"""Where some keys stand on the circle."""
